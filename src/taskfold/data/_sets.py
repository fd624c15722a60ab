"""A task's data: three sets of images with their targets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from ..problems import Classification, Problem
from ._images import Read, digest, pick


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split, read when asked for.

    Attributes:
        targets: of each image, as the task's problem has them: class indices, or tuples of numbers.
        read: index → RGB image. Must be picklable where loader processes are used.
        names: what to call each image in messages and reports: a file, or `mnist/17`.
    """

    targets: Sequence[Any]
    read: Read
    names: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.targets) != len(self.names):
            raise ValueError(
                f"targets, names: must be of equal length, found {len(self.targets)} and {len(self.names)}"
            )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def identity(self) -> str:
        """Their number, and a digest over names, targets and contents: a folder may move, a pixel may not change.

        Raises:
            OSError, UnreadableImageError: an image can't be read.
        """
        total = blake2b(digest_size=8)
        for index, (name, target) in enumerate(zip(self.names, self.targets, strict=True)):
            held = [name, target, digest(self.read, index)]
            total.update(json.dumps(held, default=lambda number: number.item()).encode())
        return f"{len(self)} images {total.hexdigest()}"

    def subset(self, indices: Iterable[int]) -> ImageSet:
        """The images at `indices`, in that order."""
        chosen = list(indices)
        targets, names = [self.targets[i] for i in chosen], [self.names[i] for i in chosen]
        return ImageSet(targets, pick(self.read, chosen), names)


@dataclass(frozen=True, eq=False)
class TaskData:
    """Everything that training and testing one task needs to know of its data.

    Attributes:
        name: of the task.
        labels: class names, whose index is the target; or what the outputs are called.
        train: learnt from.
        val: chooses the epoch; never taken from the test images.
        test: measured once.
        notes: what was split, skipped or found odd, in words.
        fixed_labels: the labels are a benchmark's own list, so a class may have no image here.
        problem: what the targets are.
    """

    name: str
    labels: tuple[str, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet
    notes: tuple[str, ...] = ()
    fixed_labels: bool = False
    problem: Problem = Classification()  # noqa: RUF009  frozen

    @property
    def splits(self) -> Mapping[str, ImageSet]:
        """The three sets by name."""
        return MappingProxyType({"train": self.train, "val": self.val, "test": self.test})

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
    """The images of one split, read on access.

    Attributes:
        targets: the images' targets in the form of the task's problem: class indices, or tuples of numbers.
        read: index → RGB image. It must be picklable if there are loader processes.
        names: the images' names in messages and reports: a file, or `mnist/17`.
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
        """The number of images, and a digest over names, targets and contents, without the folder, which may move.

        Raises:
            OSError, UnreadableImageError: an image can't be read.
        """
        total = blake2b(digest_size=8)
        for held in zip(self.names, self.targets, self.contents(), strict=True):
            total.update(json.dumps(held, default=lambda number: number.item()).encode())
        return f"{len(self)} images {total.hexdigest()}"

    def contents(self) -> list[str]:
        """A digest of each image's content, which no name or folder changes; errors as in `identity`."""
        return [digest(self.read, index) for index in range(len(self))]

    def subset(self, indices: Iterable[int]) -> ImageSet:
        """The images at `indices`, in that order."""
        chosen = list(indices)
        targets, names = [self.targets[i] for i in chosen], [self.names[i] for i in chosen]
        return ImageSet(targets, pick(self.read, chosen), names)


@dataclass(frozen=True, eq=False)
class TaskData:
    """The data of one task, for training and testing.

    Attributes:
        name: the task's name.
        labels: class names, whose index is the target; or the outputs' names.
        train: the training images.
        val: the validation images, which select the epoch; never taken from the test images.
        test: the test images, measured once.
        notes: remarks on splits, skipped and odd images, in words.
        fixed_labels: the labels are a benchmark's own list, so a class may have no image here.
        problem: the meaning of the targets.
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
        return MappingProxyType({"train": self.train, "val": self.val, "test": self.test})

"""The interface of sources of images, with splits and sizes alike for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...problems import Classification, Problem, TargetError
from .._errors import DataError, MissingDataError
from .._preprocessing import Preprocessing
from .._sets import ImageSet, TaskData
from .._split import contents, hold_out, thin_out

CLASSES = Classification()
PADDED = {"resize": "squash", "crop": "pad", "flip": True}
"""Padded, cropped back at random, flipped."""
CROPPED = {"resize": "shorter-side+crop", "crop": "random-resized", "flip": True}
"""RandomResizedCrop and flip; tested on the centre."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The official splits of a source, before further ones are made.

    Attributes:
        labels: class names; their index is the target.
        train: the training images, or all images without splits.
        val: the validation images; None: taken out of train.
        test: the test images; None: taken out of train.
        notes: remarks, in words.
        fixed_labels: the labels are a benchmark's own list, so a class may have no image here.
        problem: the meaning of the targets, with labels.
    """

    labels: tuple[str, ...]
    train: ImageSet
    val: ImageSet | None = None
    test: ImageSet | None = None
    notes: tuple[str, ...] = ()
    fixed_labels: bool = False
    problem: Problem = Classification()  # noqa: RUF009  frozen

    def renamed(self, labels: Sequence[str]) -> Parts:
        """The same classes in another order, perhaps with further ones."""
        sets = {split: getattr(self, split) for split in ("train", "val", "test")}
        moved = {
            split: images
            and replace(images, targets=[self.problem.renamed(one, self.labels, labels) for one in images.targets])
            for split, images in sets.items()
        }
        return replace(self, labels=tuple(labels), **moved)


class Source(BaseModel, ABC):
    """The settings of a source of a task's images.

    A subclass declares `kind: Literal[...]`, its own settings, and `parts`.

    Attributes:
        val_fraction: the share of train that becomes val if the source has no val.
        test_fraction: the share of all images that becomes test if the source has no test.
        train_size: the number of training images to use, classes in proportion.
        val_size: the same for val.
        test_size: the same for test.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
    usual: ClassVar[Mapping[str, Any]] = {}
    """Settings of preprocessing that are usual for these images."""

    val_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    train_size: PositiveInt | None = None
    val_size: PositiveInt | None = None
    test_size: PositiveInt | None = None

    @abstractmethod
    def parts(self) -> Parts:
        """Find the images; read as little as possible."""

    def parts_for(self, problem: Problem) -> Parts:
        """The parts with targets for a problem; a source with label columns overrides this.

        Raises:
            DataError: the problem is not one class for each image.
        """
        if not problem.of_classes:
            raise DataError(
                f"{self.origin} gives every image one class, and problem {problem.kind!r} asks for {problem.words}; "
                "use a source with columns: {kind: csv, file: …}, or your own: {kind: python, function: …}"
            )
        found = self.parts()
        try:
            known, labels = problem.fitted(found.labels)
        except TargetError as error:
            raise DataError(f"{self.origin}: {error}") from None
        if type(problem) is Classification:
            return replace(found, problem=problem)
        return replace(found.renamed(labels), problem=known)

    @property
    def origin(self) -> str:
        """A short name for tables: `stl10`, `packaged:mnist`, `folder:flowers`."""
        return str(self.__dict__["kind"])

    def preprocessing(self, base: Preprocessing) -> Preprocessing:
        """`base` with the usual augmentation for these images; the user's settings are applied later."""
        return base.changed(**self.usual)

    def load(self, name: str | None = None, seed: int = 0, problem: Problem = CLASSES) -> TaskData:
        """The three splits: official ones if they exist, else stratified and seeded.

        Equal images are never divided between splits that are made here, as far as files and arrays show.
        Val comes out of train, never out of test.

        Args:
            name: the task's name; None: the source's.
            seed: an integer ≥ 0; the same seed gives the same images.
            problem: the meaning of the targets.

        Raises:
            MissingDataError: a folder, file or package is not there.
            DataError: the data have another layout, or fewer images than the wanted sizes.
        """
        parts = self.parts_for(problem)
        strata = parts.problem.strata
        train, val, test, notes = parts.train, parts.val, parts.test, list(parts.notes)
        keys = contents(train.read, len(train)) if val is None or test is None else []
        if test is None:
            kept, held = hold_out(strata(train.targets), keys, self.test_fraction, seed, "test")
            notes.append(f"test: {len(held):,} of {len(train):,} images set aside, by class, seed {seed}")
            train, test, keys = train.subset(kept), train.subset(held), [keys[index] for index in kept]
        if val is None:
            kept, held = hold_out(strata(train.targets), keys, self.val_fraction, seed, "val")
            notes.append(f"val: {len(held):,} of {len(train):,} training images set aside, by class, seed {seed}")
            train, val = train.subset(kept), train.subset(held)
        splits = {"train": train, "val": val, "test": test}
        for split, size in (("train", self.train_size), ("val", self.val_size), ("test", self.test_size)):
            if size is not None:
                notes.append(f"{split}: {size:,} of {len(splits[split]):,} images used, by class, seed {seed}")
                splits[split] = splits[split].subset(thin_out(strata(splits[split].targets), size, seed, split))
        return TaskData(
            name or self.origin.partition(":")[2] or self.origin,
            parts.labels,
            **splits,
            notes=tuple(notes),
            fixed_labels=parts.fixed_labels,
            problem=parts.problem,
        )


def existing_folder(path: Path, key: str) -> Path:
    """`path` if it is a folder, with `~` expanded."""
    found = path.expanduser()
    if not found.is_dir():
        what = "is a file" if found.is_file() else "does not exist"
        raise MissingDataError(f"{key}: must be a folder, but {found.absolute()} {what}")
    return found


def first_existing(choices: list[Path], what: str) -> Path:
    """The first of `choices` that exists."""
    for path in choices:
        if path.exists():
            return path
    looked = ", ".join(str(path) for path in choices)
    raise MissingDataError(f"{what} not found; looked for {looked}")

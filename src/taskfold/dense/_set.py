"""Images with their targets, in files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from torch.utils.data import Dataset

from ..data import DataError, FileImages, ImageSet, MissingDataError, UnreadableImageError, first_few
from . import reading
from ._sample import DenseSample
from .kinds import Kind


@dataclass(frozen=True)
class Entry:
    """The files of an image.

    Attributes:
        name: its name.
        image: its file.
        targets: the files of its targets, by task.
    """

    name: str
    image: Path
    targets: Mapping[str, Path]


@dataclass(frozen=True, eq=False)
class DenseSet(Dataset[DenseSample]):
    """The images of one split, read on access.

    Attributes:
        entries: their files.
        kinds: the kinds of all tasks.
        readers: functions that read a task's files of a suffix.
    """

    entries: Sequence[Entry]
    kinds: Mapping[str, Kind]
    readers: Mapping[tuple[str, str], reading.Read]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> DenseSample:
        """A sample, in the size of its files.

        Raises:
            DataError, MissingDataError, UnreadableImageError: a file is wrong or missing; the message names it.
        """
        entry = self.entries[index]
        image = reading.image(entry.image)
        targets = {}
        for task, path in entry.targets.items():
            try:
                target = self.kinds[task].clean(self.readers[task, path.suffix](path))
            except DataError:
                raise
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error
            if target.shape[1:] != image.shape[1:]:
                raise DataError(
                    f"{path}: {task} is {target.shape[1]} × {target.shape[2]} pixels, "
                    f"its image {image.shape[1]} × {image.shape[2]}: make them of one size"
                )
            targets[task] = target
        return DenseSample(image, targets, entry.name)

    def subset(self, indices: Iterable[int]) -> DenseSet:
        """Some of the samples, in that order."""
        return replace(self, entries=[self.entries[index] for index in indices])

    @property
    def images(self) -> ImageSet:
        """The images alone, of one class."""
        names = [entry.name for entry in self.entries]
        return ImageSet([0] * len(self), FileImages([entry.image for entry in self.entries]), names)

    @property
    def counts(self) -> dict[str, int]:
        """The number of images with a target, by task."""
        return {task: sum(task in entry.targets for entry in self.entries) for task in self.kinds}

    def check(self, split: str, threads: int = 2) -> list[str]:
        """Read everything once.

        Args:
            split: the split's name, for messages.
            threads: the number of reading threads.

        Returns:
            Remarks on odd data that can be trained on.

        Raises:
            DataError: files are wrong; the message names the first ones and counts the rest.
        """

        def attempt(index: int) -> tuple[str, list[str]]:
            try:
                sample = self[index]
            except (DataError, MissingDataError, UnreadableImageError) as error:
                return str(error), []
            return "", [task for task, target in sample.targets.items() if not self.kinds[task].valid(target).any()]

        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(attempt, range(len(self))))
        if bad := [problem for problem, _ in found if problem]:
            more = f"\n    and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise DataError(f"{split}: {len(bad)} images cannot be used:\n    " + "\n    ".join(bad[:5]) + more)
        notes = []
        for task in self.kinds:
            if names := [entry.name for entry, (_, empty) in zip(self.entries, found, strict=True) if task in empty]:
                if len(names) == self.counts[task]:
                    raise DataError(f"{split}: no image has a valid pixel of {task}: add some, or leave the task out")
                notes.append(f"{split}: {len(names)} images have no valid pixel of {task}: {first_few(names)}")
        return notes

    def partial(self, split: str) -> list[str]:
        """The images that lack targets, in words."""
        lacking = {task: [entry.name for entry in self.entries if task not in entry.targets] for task in self.kinds}
        return [
            f"{split}: {len(names):,} of {len(self):,} images have no {task}: {first_few(names)}"
            for task, names in lacking.items()
            if names
        ]


@dataclass(frozen=True, eq=False)
class DenseData:
    """The data for training and testing.

    Attributes:
        train: the training samples.
        val: the validation samples, which select the epoch.
        test: the test samples, measured once; None: the benchmark has none.
        kinds: the tasks' kinds.
        notes: remarks on odd or missing data.
    """

    train: DenseSet
    val: DenseSet
    test: DenseSet | None
    kinds: Mapping[str, Kind]
    notes: tuple[str, ...] = field(default=())

    @property
    def splits(self) -> Mapping[str, DenseSet]:
        found = {"train": self.train, "val": self.val}
        return MappingProxyType(found if self.test is None else {**found, "test": self.test})

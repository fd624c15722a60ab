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
    """One image's files.

    Attributes:
        name: to call it by.
        image: its file.
        targets: file by task, of the tasks that it has a target for.
    """

    name: str
    image: Path
    targets: Mapping[str, Path]


@dataclass(frozen=True, eq=False)
class DenseSet(Dataset[DenseSample]):
    """The images of one split, read when asked for.

    Attributes:
        entries: their files.
        kinds: of all tasks.
        readers: how each task's files of each suffix are read.
    """

    entries: Sequence[Entry]
    kinds: Mapping[str, Kind]
    readers: Mapping[tuple[str, str], reading.Read]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> DenseSample:
        """One sample, in the size of its files.

        Raises:
            DataError, MissingDataError, UnreadableImageError: a file is not what it should be; names it.
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
        """How many images have a target, by task."""
        return {task: sum(task in entry.targets for entry in self.entries) for task in self.kinds}

    def check(self, split: str, threads: int = 2) -> list[str]:
        """Read everything once.

        Args:
            split: its name, for messages.
            threads: that read.

        Returns:
            What is odd but can be trained on.

        Raises:
            DataError: files that are not what they should be: the first of them by name, and how many.
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
        """Which images lack targets, in words."""
        lacking = {task: [entry.name for entry in self.entries if task not in entry.targets] for task in self.kinds}
        return [
            f"{split}: {len(names):,} of {len(self):,} images have no {task}: {first_few(names)}"
            for task, names in lacking.items()
            if names
        ]


@dataclass(frozen=True, eq=False)
class DenseData:
    """What training and testing need to know.

    Attributes:
        train: learnt from.
        val: chooses the epoch.
        test: measured once; None where the benchmark has none of its own.
        kinds: of the tasks.
        notes: what was found odd or missing, in words.
    """

    train: DenseSet
    val: DenseSet
    test: DenseSet | None
    kinds: Mapping[str, Kind]
    notes: tuple[str, ...] = field(default=())

    @property
    def splits(self) -> Mapping[str, DenseSet]:
        """The sets that there are, by name."""
        found = {"train": self.train, "val": self.val}
        return MappingProxyType(found if self.test is None else {**found, "test": self.test})

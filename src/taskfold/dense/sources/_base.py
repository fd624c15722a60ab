"""The interface of sources of dense data, with common checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ...data import DataError, MissingDataError, existing_folder, first_few, repeated
from .._set import DenseData, DenseSet, Entry
from ..kinds import Kind
from ..reading import Read

IMAGES = (".jpg", ".jpeg", ".png", ".npy")


class DenseSource(BaseModel, ABC):
    """The settings of a source of images with dense targets.

    A subclass declares `kind: Literal[...]`, its own settings, and the three methods.

    Attributes:
        root: the folder.
        check_files: read every file once when loading, so that errors show before training; otherwise
            they show when a sample is read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path
    check_files: bool = True

    @property
    def origin(self) -> str:
        """A short name for tables: `nyuv2:rooms`."""
        return f"{type(self).model_fields['kind'].default}:{self.root.name}"

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of targets in a loss, if they are not 1."""
        return {}

    @abstractmethod
    def kinds(self) -> Mapping[str, Kind]:
        """The kinds of the tasks."""

    @abstractmethod
    def readers(self) -> Mapping[tuple[str, str], Read]:
        """(task, suffix) → a function that reads such files."""

    @abstractmethod
    def entries(self, split: str) -> list[Entry] | None:
        """The files of `train`, `val` or `test`; None: there is no such split."""

    def load(self) -> DenseData:
        """All splits, checked. Images without some of their targets are kept, and counted in the notes.

        Raises:
            MissingDataError: a folder or a split is missing.
            DataError: files are wrong, targets have no image, or a split or task is empty.
        """
        root, kinds, readers, notes = existing_folder(self.root, "root"), self.kinds(), self.readers(), []
        sets: dict[str, DenseSet] = {}
        for split in ("train", "val", "test"):
            entries = self.entries(split)
            if entries is None:
                continue
            if not entries:
                raise DataError(f"root: {root} has no {split} images: add some")
            sets[split] = DenseSet(entries, kinds, readers)
            if empty := [task for task, count in sets[split].counts.items() if not count]:
                raise DataError(
                    f"{split}: no image has a target for {first_few(empty)}: add some, or leave the task out"
                )
            notes += sets[split].partial(split)
            if self.check_files:
                notes += sets[split].check(split)
        if self.check_files:
            notes += repeated({split: one.images for split, one in sets.items()}, ("",))
        for split in ("train", "val"):
            if split not in sets:
                raise MissingDataError(f"root: {root} has no {split} split: training needs train and val")
        return DenseData(sets["train"], sets["val"], sets.get("test"), kinds, tuple(notes))


def files(place: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """The files of a folder by name without suffix; numbers are sorted by value.

    Raises:
        DataError: a name occurs with two suffixes.
    """
    allowed = set(suffixes)
    found: dict[str, Path] = {}
    for path in sorted(place.iterdir(), key=lambda path: (len(path.stem) if path.stem.isdigit() else 0, path.name)):
        if path.suffix not in allowed or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in found:
            raise DataError(f"{place} holds {found[path.stem].name} and {path.name}: keep one of them")
        found[path.stem] = path
    return found


def matched(images: Mapping[str, Path], targets: Mapping[str, Mapping[str, Path]], place: Path) -> list[Entry]:
    """Images with the targets of the same name.

    Args:
        images: the images' files by name.
        targets: task → name → file.
        place: the folder, for messages.

    Raises:
        DataError: a target has no image.
    """
    for task, several in targets.items():
        if alone := [path.name for name, path in several.items() if name not in images]:
            raise DataError(f"{place}: {len(alone)} files of {task} have no image of their name: {first_few(alone)}")
    return [
        Entry(name, path, {task: several[name] for task, several in targets.items() if name in several})
        for name, path in images.items()
    ]

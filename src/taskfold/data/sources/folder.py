"""Any folder of images, a sub-folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .._errors import DataError, first_few
from ._base import Parts, Source, existing_folder
from ._classes import class_folders, images_of, scan

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class Folder(Source):
    """`root/{train,val,test}/<class>/*.jpg`, val and test optional; or `root/<class>/*.jpg`, to be split.

    Attributes:
        root: the folder.
        labels: the class names, in order; None: the folders' names, sorted.
    """

    kind: Literal["folder"] = "folder"
    root: Path
    labels: tuple[str, ...] | None = None

    @property
    def origin(self) -> str:
        return f"folder:{self.root.expanduser().absolute().name}"

    def parts(self) -> Parts:
        """Official splits by their names; class names are the union over all splits."""
        root = existing_folder(self.root, "root")
        places = split_folders(root) or {"train": root}
        found = {split: scan(place) for split, place in places.items()}
        names = sorted({name for classes, _ in found.values() for name in classes})
        if self.labels and (odd := sorted(set(names) - set(self.labels))):
            raise DataError(
                f"root: {root} has folders {first_few(odd)}, not among the labels: {first_few(self.labels)}"
            )
        if not names:
            raise DataError(f"root: {root} has no class folders; expected <class>/*.jpg or train/<class>/*.jpg")
        labels = self.labels or tuple(names)
        sets = {split: images_of(classes, labels, root) for split, (classes, _) in found.items()}
        notes = tuple(note for _, several in found.values() for note in several)
        return Parts(labels, sets["train"], sets.get("val"), sets.get("test"), notes)


def split_folders(root: Path) -> dict[str, Path]:
    """The split folders in `root` by name of split; empty if it has none.

    Raises:
        DataError: there are splits without a train folder, beside class folders, or twice under different names.
    """
    here = {path.name: path for path in class_folders(root)}
    found = {split: [here[name] for name in names if name in here] for split, names in SPLITS.items()}
    if twice := [places for places in found.values() if len(places) > 1]:
        raise DataError(f"root: {root} has one split twice: {first_few(path.name for path in twice[0])}; keep one")
    places = {split: several[0] for split, several in found.items() if several}
    if not places:
        return {}
    if "train" not in places:
        raise DataError(f"root: {root} has {first_few(sorted(here))} but no train folder; add train/<class>/*.jpg")
    if others := sorted(set(here) - {path.name for path in places.values()}):
        raise DataError(
            f"root: {root} has train beside {first_few(others)}; expected only "
            "train, val and test, or only class folders"
        )
    return places

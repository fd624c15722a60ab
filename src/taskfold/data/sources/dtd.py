"""Describable Textures (Cimpoi et al., 2014)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from .._errors import DataError
from .._images import FileImages
from .._sets import ImageSet
from ._base import CROPPED, Parts, Source, existing_folder, first_existing


class Dtd(Source):
    """`root/dtd/dtd/{images,labels}`, as torchvision unpacks it; `root` may also be one of the folders below.

    Attributes:
        root: the folder.
        partition: 1 to 10, the official division into train, val and test.
    """

    kind: Literal["dtd"] = "dtd"
    root: Path
    usual = CROPPED
    partition: int = Field(default=1, ge=1, le=10)

    @property
    def origin(self) -> str:
        """`dtd`, or `dtd-2` for partition 2."""
        return "dtd" if self.partition == 1 else f"dtd-{self.partition}"

    def parts(self) -> Parts:
        """All three splits are official; each is a list of `<class>/<file>`."""
        root = existing_folder(self.root, "root")
        lists = first_existing([root / "dtd/dtd/labels", root / "dtd/labels", root / "labels"], "DTD's lists")
        found = {split: self._files(lists, split) for split in ("train", "val", "test")}
        labels = tuple(sorted({Path(file).parent.name for files in found.values() for file in files}))
        train, val, test = (_images(files, lists.parent / "images", labels) for files in found.values())
        return Parts(labels, train, val, test)

    def _files(self, lists: Path, split: str) -> list[str]:
        path = first_existing([lists / f"{split}{self.partition}.txt"], f"DTD's list of {split} images")
        files = path.read_text(encoding="utf-8").split()
        if odd := [file for file in files if file.count("/") != 1]:
            raise DataError(f"{path}: lines must be '<class>/<file>', found {odd[0]!r}")
        return files


def _images(files: list[str], place: Path, labels: tuple[str, ...]) -> ImageSet:
    targets = [labels.index(Path(file).parent.name) for file in files]
    return ImageSet(targets, FileImages([place / file for file in files]), files)

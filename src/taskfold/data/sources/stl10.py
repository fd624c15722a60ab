"""STL-10 (Coates et al., 2011), binary version."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .._sets import ImageSet
from ._arrays import array_set, records
from ._base import PADDED, Parts, Source, existing_folder, first_existing

SIDE = 96


class Stl10(Source):
    """`root/stl10_binary/{train,test}_{X,y}.bin`; the unlabelled images are not used.

    Attributes:
        root: the folder that holds `stl10_binary`, or that folder.
    """

    kind: Literal["stl10"] = "stl10"
    root: Path
    usual = PADDED

    def parts(self) -> Parts:
        """Train and test are official; val comes out of train."""
        root = existing_folder(self.root, "root")
        place = first_existing([root / "stl10_binary/train_X.bin", root / "train_X.bin"], "STL-10").parent
        names = first_existing([place / "class_names.txt"], "STL-10's class names").read_text().split()
        return Parts(tuple(names), _read(place, "train"), None, _read(place, "test"))


def _read(place: Path, split: str) -> ImageSet:
    pixels = records(first_existing([place / f"{split}_X.bin"], "STL-10's images"), 3 * SIDE * SIDE)
    targets = records(first_existing([place / f"{split}_y.bin"], "STL-10's labels"), 1)[:, 0]
    # Stored channel by channel, each column by column; labels count from 1.
    images = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)
    return array_set(images, targets.astype(int) - 1, f"stl10/{split}")

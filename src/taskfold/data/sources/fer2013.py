"""FER2013 (Goodfellow et al., 2013): faces in a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import numpy as np

from .._errors import DataError
from .._sets import ImageSet
from ._arrays import array_set
from ._base import PADDED, Parts, Source, existing_folder, first_existing

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLIT = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
SIDE = 48


class Fer2013(Source):
    """`root/fer2013/fer2013.csv` or `icml_face_data.csv`; test = PublicTest + PrivateTest.

    Attributes:
        root: the folder that holds `fer2013`, or that folder.
    """

    kind: Literal["fer2013"] = "fer2013"
    root: Path
    usual = PADDED

    def parts(self) -> Parts:
        """Train and test are official; val comes out of train."""
        root = existing_folder(self.root, "root")
        names = ("fer2013.csv", "icml_face_data.csv")
        path = first_existing([place / name for place in (root / "fer2013", root) for name in names], "FER2013")
        sets = _read(path)
        return Parts(LABELS, sets["train"], None, sets["test"])


def _read(path: Path) -> dict[str, ImageSet]:
    pixels: dict[str, list[bytes]] = {"train": [], "test": []}
    targets: dict[str, list[int]] = {"train": [], "test": []}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if absent := {"emotion", "pixels", "Usage"} - set(rows.fieldnames or ()):
            raise DataError(f"{path}: must have columns emotion, pixels, Usage; missing {', '.join(sorted(absent))}")
        for row in rows:
            try:
                split = SPLIT[row["Usage"]]
                image = bytes(map(int, row["pixels"].split()))
                target = int(row["emotion"])
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise DataError(f"{path}, line {rows.line_num}: cannot be read: {error!r}") from error
            if len(image) != SIDE * SIDE:
                raise DataError(f"{path}, line {rows.line_num}: must have {SIDE * SIDE} pixels, found {len(image)}")
            pixels[split].append(image)
            targets[split].append(target)
    return {
        split: array_set(
            np.frombuffer(b"".join(pixels[split]), np.uint8).reshape(-1, SIDE, SIDE), targets[split], f"fer2013/{split}"
        )
        for split in pixels
    }

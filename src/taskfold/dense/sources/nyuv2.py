"""NYUv2 in the form of multi-task papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from ...data import MissingDataError, existing_folder
from .. import reading
from .._protocol import nyuv2
from .._set import Entry
from ..kinds import Kind, Segmentation
from ._base import DenseSource, files, matched

FOLDERS = {"segmentation": "label", "depth": "depth", "normals": "normal"}


class NYUv2(DenseSource):
    """`root/{train,val}/{image,label,depth,normal}/{i}.npy`, and `test` if it exists.

    image `[H, W, 3]`, floats 0 to 1; label `[H, W]`, −1 ignored; depth `[H, W, 1]`, metres, 0 invalid; normal
    `[H, W, 3]`, unit vectors, zero invalid. The original has 795 and 654 images of 288 × 384.

    Attributes:
        classes: the number of the segmentation's classes.
        labels: the classes' names, in order, if known.
    """

    kind: Literal["nyuv2"] = "nyuv2"
    classes: int = Field(default=13, ge=2, le=255)
    labels: tuple[str, ...] = ()

    def kinds(self) -> Mapping[str, Kind]:
        return {**nyuv2(self.classes).kinds, "segmentation": Segmentation(self.classes, self.labels)}

    def readers(self) -> Mapping[tuple[str, str], reading.Read]:
        return {(task, ".npy"): reading.npy for task in FOLDERS}

    def entries(self, split: str) -> list[Entry] | None:
        place = existing_folder(self.root, "root") / split
        if not place.is_dir():
            return None
        for name in ("image", *FOLDERS.values()):
            if not (place / name).is_dir():
                raise MissingDataError(f"root: no folder {place / name}; expected {{image,label,depth,normal}}/<i>.npy")
        targets = {task: files(place / name, [".npy"]) for task, name in FOLDERS.items()}
        return matched(files(place / "image", [".npy"]), targets, place)

"""NYUD with four tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ...data import DataError, MissingDataError, existing_folder, first_few
from .. import reading
from .._protocol import nyud
from .._set import Entry
from ..kinds import Kind
from ._base import DenseSource

FILES = {"segmentation": ".mat", "depth": ".mat", "normals": ".jpg", "edges": ".png"}
FOLDERS = {task: "edge" if task == "edges" else task for task in FILES}


class NyudMt(DenseSource):
    """`images/*.jpg`, `segmentation/*.mat`, `depth/*.mat`, `normals/*.jpg`, `edge/*.png`, `gt_sets/{train,val}.txt`.

    795 and 654 names. An array in .mat has its folder's name; MATLAB 7.3 needs h5py. Classes are counted from
    1 there, 0 is unlabelled and ignored: they become 0 to `classes` − 1. Depth is in metres, normals are 2x/255 − 1,
    edges x/255.

    Attributes:
        classes: the number of classes, without the unlabelled one.
        background: unlabelled pixels are class 0, before the others: 41 classes, as in ASTMT's training.
    """

    kind: Literal["nyud-mt"] = "nyud-mt"
    classes: int = Field(default=40, ge=2, le=254)
    background: bool = False

    @property
    def weights(self) -> Mapping[str, float]:
        return nyud().weights

    def kinds(self) -> Mapping[str, Kind]:
        return nyud(self.classes + self.background).kinds

    def readers(self) -> Mapping[tuple[str, str], reading.Read]:
        classes = reading.Mat("segmentation")
        return {
            ("segmentation", ".mat"): classes if self.background else reading.Shifted(classes),
            ("depth", ".mat"): reading.Mat("depth"),
            ("normals", ".jpg"): reading.directions,
            ("edges", ".png"): reading.strengths,
        }

    def entries(self, split: str) -> list[Entry] | None:
        root = existing_folder(self.root, "root")
        for name in ("images", "gt_sets", *FOLDERS.values()):
            if not (root / name).is_dir():
                raise MissingDataError(f"root: no folder {root / name}; NYUD-MT has images, gt_sets and one per task")
        listed = root / "gt_sets" / f"{split}.txt"
        if not listed.is_file():
            return None
        names = listed.read_text(encoding="utf-8").split()
        if lost := [name for name in names if not (root / "images" / f"{name}.jpg").is_file()]:
            raise MissingDataError(f"{listed}: {len(lost)} images are not in {root / 'images'}: {first_few(lost)}")
        if len(set(names)) != len(names):
            raise DataError(f"{listed}: names occur twice; keep one of each")
        return [Entry(name, root / "images" / f"{name}.jpg", _targets(root, name)) for name in names]


def _targets(root: Path, name: str) -> dict[str, Path]:
    places = {task: root / FOLDERS[task] / f"{name}{suffix}" for task, suffix in FILES.items()}
    return {task: path for task, path in places.items() if path.is_file()}

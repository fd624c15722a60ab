"""Any folder of aligned images."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from ...data import DataError, MissingDataError, existing_folder, first_few
from .. import reading
from .._set import Entry
from ..kinds import KINDS, Kind, Segmentation
from ._base import IMAGES, DenseSource, files, matched

FORMS: Mapping[tuple[str, str], reading.Read] = MappingProxyType(
    {
        ("segmentation", ".png"): reading.labels,
        ("segmentation", ".npy"): reading.npy,
        ("depth", ".png"): reading.millimetres,
        ("depth", ".npy"): reading.npy,
        ("normals", ".png"): reading.directions,
        ("normals", ".jpg"): reading.directions,
        ("normals", ".jpeg"): reading.directions,
        ("normals", ".npy"): reading.npy,
        ("edges", ".png"): reading.strengths,
        ("edges", ".jpg"): reading.strengths,
        ("edges", ".jpeg"): reading.strengths,
        ("edges", ".npy"): reading.npy,
    }
)


class Aligned(DenseSource):
    """`root/{train,val,test}/{image,segmentation,depth,normals,edges}/<name>.<suffix>`; test is optional.

    The contents of files::

        | folder | .png | .npy |
        |---|---|---|
        | image | (also .jpg) colours | `[H, W, 3]`, bytes or floats 0 to 1 |
        | segmentation | grey values or palette indices are classes, 255 ignored | classes; 255 and below 0 ignored |
        | depth | 16 bits, millimetres, 0 invalid | metres; 0, negative, NaN, infinite invalid |
        | normals | (also .jpg) 2x/255 − 1 | unit vectors `[H, W, 3]`, zero invalid |
        | edges | (also .jpg) x/255 | 0 to 1, NaN or −1 invalid |

    Attributes:
        classes: the number of the segmentation's classes, if there is one.
        labels: the classes' names, in order, if known.
        tasks: the folders to use; None: all in train.
    """

    kind: Literal["aligned"] = "aligned"
    classes: int | None = Field(default=None, ge=2, le=255)
    labels: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None

    def kinds(self) -> Mapping[str, Kind]:
        place = existing_folder(self.root, "root") / "train"
        if not place.is_dir():
            raise MissingDataError(
                f"root: no folder {place}; expected train/image, val/image and the tasks' beside them"
            )
        here = [name for name in KINDS if (place / name).is_dir()]
        tasks = list(here if self.tasks is None else self.tasks)
        odd = sorted(set(tasks) - set(here))
        if odd or not tasks:
            found = f"{first_few(odd)} not in" if tasks else "none in"
            raise DataError(f"tasks: {found} {place}; folders there for tasks: {first_few(here) or 'none'}")
        if "segmentation" in tasks and self.classes is None:
            raise DataError("classes: must say how many classes the segmentation has")
        return {
            task: Segmentation(self.classes or 0, self.labels) if task == "segmentation" else KINDS[task]()
            for task in tasks
        }

    def readers(self) -> Mapping[tuple[str, str], reading.Read]:
        return FORMS

    def entries(self, split: str) -> list[Entry] | None:
        place = existing_folder(self.root, "root") / split
        if not place.is_dir():
            return None
        if not (place / "image").is_dir():
            raise MissingDataError(f"root: no folder {place / 'image'}; images go there")
        targets = {}
        for task in self.kinds():
            suffixes = [suffix for name, suffix in FORMS if name == task]
            there = place / task
            targets[task] = files(there, suffixes) if there.is_dir() else {}
            odd = [path.name for path in there.iterdir() if path.suffix not in suffixes] if there.is_dir() else []
            if odd := sorted(name for name in odd if not name.startswith(".")):
                raise DataError(f"{there}: {task} is read from {first_few(suffixes)}; found {first_few(odd)}")
        return matched(files(place / "image", IMAGES), targets, place)

"""The things of rendered rooms, as instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from taskfold.data import DataError, MissingDataError, existing_folder, first_few
from taskfold.dense import InstanceSample, reading
from taskfold.dense.sources import files

from ._classes import CLASSES

THINGS = ("bed", "books", "chair", "furniture", "objects", "picture", "sofa", "table", "tv", "window")
"""The classes of rendered rooms but wall, floor and ceiling."""
MAPS = ("image", "label", "instance")


@dataclass(frozen=True, eq=False)
class _Thing:
    """The visible pixels of one thing."""

    label: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    @property
    def size(self) -> int:
        return len(self.rows)


class RoomInstances(Dataset[InstanceSample]):
    """What stands and hangs in rendered rooms: `root/split/{image,label,instance}/{i}.npy`, as `rooms` makes them.

    A mask is what is visible of one thing; its class is that of most of its pixels; its box just holds the mask.

    Args:
        root: the folder of the rooms.
        split: `train`, `val` or `test`.
        classes: of things, some of the rooms' thirteen; other pixels belong to no object.
        min_area: things with fewer visible pixels are left out; ≥ 1.
        empty: whether images without an object stay in.

    Attributes:
        labels: the classes; class c of a sample is `labels[c − 1]`.
        counts: objects of each class.
        notes: what was left out, in words.

    Raises:
        ValueError: a class is not known or named twice, or the area is below 1.
        MissingDataError: a folder or file is not there.
        DataError: maps are not what they should be, or no image is left.
    """

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        classes: Sequence[str] = THINGS,
        min_area: int = 16,
        empty: bool = True,
    ) -> None:
        _check(classes, min_area)
        self.labels, self.min_area = tuple(classes), min_area
        # The class of a sample by the class of the rooms; 0 for those not asked for.
        self._class = np.array([self.labels.index(name) + 1 if name in self.labels else 0 for name in CLASSES])
        place = existing_folder(Path(root), "root") / split
        for name in MAPS:
            if not (place / name).is_dir():
                raise MissingDataError(f"root: no folder {place / name}; taskfold_demos.rooms.rooms makes such folders")
        found = {name: files(place / name, [".npy"]) for name in MAPS}
        for name in MAPS[1:]:
            if odd := sorted(found["image"].keys() ^ found[name].keys()):
                raise DataError(f"{place}: image and {name} must have files of the same names; not so {first_few(odd)}")
        every = [{name: found[name][key] for name in MAPS} for key in found["image"]]
        things = [self._things(paths) for paths in every]
        small = sum(one.size < min_area for image in things for one in image)
        kept = [[one for one in image if one.size >= min_area] for image in things]
        self._images = [paths for paths, image in zip(every, kept, strict=True) if empty or image]
        if not self._images:
            raise DataError(f"{place} has no images{'' if empty else ' with objects of these classes and this area'}")
        numbers = Counter(one.label for image in kept for one in image)
        self.counts = {name: numbers[number] for number, name in enumerate(self.labels, 1)}
        left_out = {
            f"things of fewer than {min_area} pixels": small,
            "images without objects": len(every) - len(self._images),
        }
        self.notes = tuple(f"{count:,} {what} left out" for what, count in left_out.items() if count)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> InstanceSample:
        paths = self._images[index]
        image, shape = reading.image(paths["image"]), reading.npy(paths["instance"]).shape
        if image.shape[1:] != shape:
            raise DataError(
                f"{paths['instance']} is {shape}, its image {tuple(image.shape[1:])}: make them of one size"
            )
        kept = [one for one in self._things(paths) if one.size >= self.min_area]
        masks = np.zeros((len(kept), *shape), bool)
        for mask, one in zip(masks, kept, strict=True):
            mask[one.rows, one.columns] = True
        boxes = [[o.columns.min(), o.rows.min(), o.columns.max() + 1, o.rows.max() + 1] for o in kept]
        return InstanceSample(
            image,
            torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4),
            torch.tensor([one.label for one in kept], dtype=torch.int64),
            torch.from_numpy(masks),
            paths["image"].name,
        )

    def _things(self, paths: dict[str, Path]) -> list[_Thing]:
        """Every thing of the classes asked for, however small."""
        label, instance = (_map(paths[name]) for name in MAPS[1:])
        if label.shape != instance.shape:
            raise DataError(
                f"{paths['label']} is {label.shape}, {paths['instance'].name} of instances {instance.shape}"
            )
        if label.max(initial=-1) >= len(CLASSES):
            raise DataError(f"{paths['label']}: classes must be below {len(CLASSES)}, found {label.max()}")
        found = []
        for number in np.unique(instance[instance >= 0]):
            rows, columns = np.nonzero(instance == number)
            # One more than the class, so that unlabelled pixels, −1, are counted, too.
            most = int(np.bincount(np.maximum(label[rows, columns], -1) + 1).argmax()) - 1
            if most >= 0 and self._class[most]:
                found.append(_Thing(int(self._class[most]), rows, columns))
        return found


def _map(path: Path) -> NDArray[np.int64]:
    found = reading.npy(path)
    if found.ndim != 2 or found.dtype.kind not in "iu":
        raise DataError(f"{path}: must be whole numbers [H, W], found {found.dtype} {list(found.shape)}")
    return found.astype(np.int64)


def _check(classes: Sequence[str], min_area: int) -> None:
    names = [classes] if isinstance(classes, str) else list(classes)
    if unknown := [name for name in names if name not in CLASSES]:
        raise ValueError(f"classes must be of {', '.join(CLASSES)}; found {first_few(unknown)}")
    if not names or len(set(names)) < len(names) or isinstance(classes, str):
        raise ValueError(f"classes must be one or more names, each once; found {classes!r}")
    if isinstance(min_area, bool) or not isinstance(min_area, int) or min_area < 1:
        raise ValueError(f"min_area must be a whole number of pixels, 1 or more; found {min_area!r}")

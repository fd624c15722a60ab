"""COCO's instances: a box, a class and a mask for each object of an image."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ...data import DataError, MissingDataError, UnreadableImageError, existing_folder, first_few, require
from .. import reading


@dataclass(frozen=True, eq=False)
class InstanceSample:
    """One image and its N objects.

    Attributes:
        image: float `[3, H, W]`, 0 to 1.
        boxes: float `[N, 4]`: left, top, right, bottom, pixels.
        classes: int64 `[N]`, 1 to the number of classes: 0 is the background, as in torchvision's detectors.
        masks: boolean `[N, H, W]`.
        name: the image file's name.
    """

    image: Tensor
    boxes: Tensor
    classes: Tensor
    masks: Tensor
    name: str

    def target(self) -> dict[str, Tensor]:
        """The target of torchvision's detectors."""
        return {"boxes": self.boxes, "labels": self.classes, "masks": self.masks.to(torch.uint8)}


@dataclass(frozen=True)
class _Picture:
    """An image's entry in the file."""

    number: int
    path: Path
    size: tuple[int, int]  # width, height


class CocoInstances(Dataset[InstanceSample]):
    """The images of one `annotations/instances_*.json`.

    Groups marked as crowds and boxes without an area are left out; the notes say how many. Needs pycocotools.

    Args:
        annotations: the JSON file.
        images: the folder with its images.
        empty: keep images without an object.

    Attributes:
        labels: class names, in order of their number in the file: `labels[c − 1]` for class c of a sample.
        notes: remarks on left-out objects.

    Raises:
        MissingExtraError: pycocotools is not installed.
        MissingDataError: the file, the folder or images are missing.
        DataError: the file has another form, or an image another size than its entry.
    """

    def __init__(self, annotations: Path | str, images: Path | str, empty: bool = True) -> None:
        require("pycocotools.mask", '"taskfold[dense]"')
        path, self.folder = Path(annotations).expanduser(), existing_folder(Path(images), "images")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            names = {int(one["id"]): str(one["name"]) for one in content["categories"]}
            listed = [
                _Picture(int(one["id"]), self.folder / one["file_name"], (int(one["width"]), int(one["height"])))
                for one in content["images"]
            ]
            objects, crowds, flat = _sorted(content["annotations"], names, (one.number for one in listed))
        except FileNotFoundError:
            raise MissingDataError(f"annotations: no file {path}") from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise DataError(f"annotations: {path} is not of COCO's instances form: {error!r}") from error
        except DataError as error:
            raise DataError(f"annotations: {path}: {error}") from error
        self.labels = tuple(names[number] for number in sorted(names))
        self._class = {number: place for place, number in enumerate(sorted(names), 1)}
        self._objects = objects
        ordered = sorted(listed, key=lambda one: one.number)
        self._images = [one for one in ordered if empty or objects[one.number]]
        if not self._images:
            raise DataError(f"annotations: {path} lists no images{'' if empty else ' with objects'}")
        self._check()
        left_out = {
            "crowds": crowds,
            "objects without an area": flat,
            "images without objects": len(listed) - len(self._images),
        }
        self.notes = tuple(f"{count:,} {what} left out" for what, count in left_out.items() if count)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> InstanceSample:
        listed = self._images[index]
        objects = self._objects[listed.number]
        image = reading.image(listed.path)
        height, width = image.shape[1:]
        boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = [self._mask(one, height, width) for one in objects]
        return InstanceSample(
            image,
            torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], 2).flatten(1),
            torch.tensor([self._class[one["category_id"]] for one in objects], dtype=torch.int64),
            torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, height, width, dtype=torch.bool),
            listed.path.name,
        )

    def _mask(self, mark: Mapping[str, Any], height: int, width: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        coding, found = require("pycocotools.mask", '"taskfold[dense]"'), mark["segmentation"]
        try:
            if isinstance(found, list):  # polygons
                run_lengths = coding.merge(coding.frPyObjects(found, height, width))
            elif isinstance(found["counts"], list):
                run_lengths = coding.frPyObjects(found, height, width)
            else:
                run_lengths = found
            with warnings.catch_warnings():
                # pycocotools 2.0.11 is behind NumPy 2
                warnings.simplefilter("ignore", DeprecationWarning)
                mask = coding.decode(run_lengths).astype(bool)
        except Exception as error:  # pycocotools raises errors of any type
            raise DataError(f"annotation {mark.get('id')}: its mask cannot be decoded: {error}") from error
        if mask.shape != (height, width):
            raise DataError(f"annotation {mark.get('id')}: its mask is {mask.shape}, the image {(height, width)}")
        return mask

    def _check(self) -> None:
        if lost := [one.path.name for one in self._images if not one.path.is_file()]:
            raise MissingDataError(
                f"images: {len(lost)} of {len(self._images)} are not in {self.folder}: {first_few(lost)}"
            )
        for one in self._images:
            try:
                with Image.open(one.path) as picture:
                    found = picture.size
            except OSError as error:
                raise UnreadableImageError(f"{one.path} cannot be read as an image: {error}") from error
            if found != one.size:
                said = f"{one.size[0]} × {one.size[1]}"
                raise DataError(f"{one.path} is {found[0]} × {found[1]} pixels, its annotations say {said}")


def _sorted(
    marks: Sequence[Mapping[str, Any]], names: Iterable[int], listed: Iterable[int]
) -> tuple[dict[int, list[Mapping[str, Any]]], int, int]:
    """Objects by image, and the numbers of crowds and of boxes without an area that were left out."""
    classes, crowds, flat = set(names), 0, 0
    objects: dict[int, list[Mapping[str, Any]]] = {number: [] for number in listed}
    for mark in marks:
        if mark["image_id"] not in objects:
            raise DataError(f"annotation {mark.get('id')} is of image {mark['image_id']}, which is not listed")
        if mark["category_id"] not in classes:
            raise DataError(f"annotation {mark.get('id')} is of category {mark['category_id']}, which is not listed")
        if mark.get("iscrowd"):
            crowds += 1
        elif min(mark["bbox"][2:]) <= 0 or not mark["segmentation"]:
            flat += 1
        else:
            objects[mark["image_id"]].append(mark)
    return objects, crowds, flat

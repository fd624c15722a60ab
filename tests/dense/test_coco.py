from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from taskfold.data import DataError, MissingDataError
from taskfold.dense import CocoInstances

pytest.importorskip("pycocotools")

Change = Callable[[dict[str, Any]], Any]


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed coding: columns first, beginning with how many zeros."""
    counts, current, length = [], False, 0
    for pixel in mask.T.flatten().tolist():
        if pixel != current:
            counts.append(length)
            current, length = pixel, 0
        length += 1
    return {"size": list(mask.shape), "counts": [*counts, length]}


MASK = np.zeros((6, 8), bool)
MASK[1:3, 4:8] = MASK[3, 5] = True


def content() -> dict[str, Any]:
    size, cup, chair = {"width": 8, "height": 6}, {"image_id": 9, "category_id": 90}, {"image_id": 9, "category_id": 3}
    square, flat = [[2, 1, 6, 1, 6, 4, 2, 4]], [[1, 1, 1, 3, 1, 2]]
    return {
        "images": [{"id": 9, "file_name": "b.png", **size}, {"id": 4, "file_name": "a.png", **size}],
        "categories": [{"id": 90, "name": "cup"}, {"id": 3, "name": "chair"}],
        "annotations": [
            {"id": 1, **cup, "iscrowd": 0, "bbox": [2, 1, 4, 3], "segmentation": square},
            {"id": 2, **chair, "iscrowd": 0, "bbox": [4, 1, 4, 3], "segmentation": run_lengths(MASK)},
            {"id": 3, **chair, "iscrowd": 1, "bbox": [0, 0, 8, 6], "segmentation": run_lengths(~MASK)},
            {"id": 4, **chair, "iscrowd": 0, "bbox": [1, 1, 0, 2], "segmentation": flat},
        ],
    }


def write(root: Path, change: Change = lambda found: None) -> tuple[Path, Path]:
    found = content()
    change(found)
    (root / "instances.json").write_text(json.dumps(found))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6), "red").save(root / name)
    return root / "instances.json", root


def test_boxes_classes_and_masks_are_those_of_the_file(tmp_path: Path) -> None:
    data = CocoInstances(*write(tmp_path))
    assert len(data) == 2 and data.labels == ("chair", "cup")
    assert data.notes == ("1 crowds left out", "1 objects without an area left out")
    empty, sample = data[0], data[1]  # in order of their ids
    assert empty.name == "a.png" and empty.boxes.shape == (0, 4) and empty.masks.shape == (0, 6, 8)
    assert sample.boxes.tolist() == [[2, 1, 6, 4], [4, 1, 8, 4]]
    assert [data.labels[number - 1] for number in sample.classes.tolist()] == ["cup", "chair"]
    square = np.zeros((6, 8), bool)
    square[1:4, 2:6] = True
    assert np.array_equal(sample.masks.numpy(), np.stack([square, MASK]))
    assert sample.target()["masks"].dtype == torch.uint8 and sample.image.shape == (3, 6, 8)


def test_images_without_objects_can_be_left_out(tmp_path: Path) -> None:
    data = CocoInstances(*write(tmp_path), empty=False)
    assert [sample.name for sample in (data[0],)] == ["b.png"]
    assert "1 images without objects left out" in data.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop("categories"), "not of COCO's instances form: KeyError.'categories'"),
        (lambda found: found["annotations"][0].update(image_id=5), "annotation 1 is of image 5"),
        (lambda found: found["annotations"][0].update(category_id=5), "annotation 1 is of category 5"),
        (lambda found: found["annotations"][0].pop("bbox"), "not of COCO's instances form: KeyError.'bbox'"),
        (lambda found: found["images"][0].update(width=9), "b.png is 8 × 6 pixels, its annotations say 9 × 6"),
        (lambda found: found["images"][0].pop("width"), "not of COCO's instances form: KeyError.'width'"),
        (lambda found: found["images"][0].update(file_name="c.png"), "1 of 2 are not in .*: c.png"),
        (lambda found: found["images"].clear() or found["annotations"].clear(), "lists no images"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises((DataError, MissingDataError), match=message):
        CocoInstances(*write(tmp_path, change))


def test_missing_files_are_named(tmp_path: Path) -> None:
    path, images = write(tmp_path)
    with pytest.raises(MissingDataError, match=r"no file .*nothing"):
        CocoInstances(tmp_path / "nothing.json", images)
    path.write_text("{")
    with pytest.raises(DataError, match=r"instances.json is not of COCO's"):
        CocoInstances(path, images)


def test_a_mask_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    data = CocoInstances(
        *write(tmp_path, lambda found: found["annotations"][1].update(segmentation={"size": [3, 3], "counts": [9]}))
    )
    with pytest.raises(DataError, match="annotation 2: its mask"):
        data[1]

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskfold.dense.instances import InstanceScores, f_score

pytest.importorskip("pycocotools")

NAMES = ["box_map", "box_map50", "box_map75", "mask_map", "mask_map50", "mask_map75"]
Marks = dict[str, Tensor]


def marks(*rows: tuple[int, int, int, int, int]) -> Marks:
    """Objects by left, top, right, bottom, class, each filling its box."""
    masks = torch.zeros(len(rows), 40, 60, dtype=torch.uint8)
    for mask, (left, top, right, bottom, _) in zip(masks, rows, strict=True):
        mask[top:bottom, left:right] = 1
    boxes = torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor([row[4] for row in rows], dtype=torch.int64), "masks": masks}


def found(true: Marks, *scores: float) -> Marks:
    """The same as detections."""
    return {**true, "masks": true["masks"].float()[:, None], "scores": torch.tensor(scores)}


TWO, NONE = marks((2, 2, 12, 22, 1), (20, 5, 40, 30, 2)), marks()


def scores(pairs: list[tuple[Marks, Marks]], masks: bool = True) -> dict[str, float]:
    counted = InstanceScores(masks)
    for one, true in pairs:
        counted.update([one], [true])
    return counted.result()


def test_perfect_detections_score_one_and_none_zero() -> None:
    perfect = [(found(TWO, 0.9, 0.8), TWO), (found(NONE), NONE)]
    assert scores(perfect) == dict.fromkeys(NAMES, pytest.approx(1))
    assert scores(perfect, masks=False) == dict.fromkeys(NAMES[:3], pytest.approx(1))
    assert scores([(found(NONE), TWO)]) == dict.fromkeys(NAMES, 0)


def test_average_precision_by_hand() -> None:
    """One of two objects: precision 1 up to recall 0.5, the 51 first of 101 points."""
    two = marks((2, 2, 12, 22, 1), (20, 5, 40, 30, 1))
    half = found({key: tensor[:1] for key, tensor in two.items()}, 0.9)
    assert scores([(half, two)])["mask_map"] == pytest.approx(51 / 101)
    # A mask of 13 of 20 rows has an IoU of 0.65, above four of the ten thresholds; the box is right.
    one = {key: tensor[:1] for key, tensor in two.items()}
    cut = found(one, 0.9)
    cut["masks"][:, :, 15:] = 0
    result = scores([(cut, one)])
    assert result["mask_map"] == pytest.approx(0.4)
    assert [result[name] for name in ("mask_map50", "mask_map75", "box_map")] == pytest.approx([1, 0, 1])
    # A surer false alarm, in an image without objects, halves the precision.
    alarm = found(one, 0.95)
    assert scores([(found(one, 0.9), one), (alarm, NONE)])["box_map50"] == pytest.approx(0.5)


def test_scores_that_cannot_be() -> None:
    counted = InstanceScores()
    with pytest.raises(ValueError, match="nothing was counted"):
        counted.result()
    with pytest.raises(ValueError, match="one per image, found 1 and 0"):
        counted.update([found(NONE)], [])
    with pytest.raises(ValueError, match="not all have them"):
        counted.update([{key: found(NONE)[key] for key in ("boxes", "labels", "scores")}], [NONE])
    with pytest.raises(ValueError, match="diverged"):
        counted.update([found(TWO, 0.5, float("nan"))], [TWO])
    with pytest.raises(ValueError, match="no image has an object"):
        scores([(found(TWO, 0.9, 0.9), NONE)])


SHIFTED = marks((2, 7, 12, 27, 1))  # IoU 15 / 25 with the first of TWO


@pytest.mark.parametrize(
    ("one", "true", "overlap", "expected"),
    [
        (found(TWO, 0.9, 0.8), TWO, 0.5, 1),
        (found(NONE), NONE, 0.5, 1),
        (found(TWO, 0.9, 0.8), NONE, 0.5, 0),
        (found(NONE), TWO, 0.5, 0),
        (found(TWO, 0.9, 0.4), TWO, 0.5, 2 / 3),  # one is not sure enough
        (found(SHIFTED, 0.9), TWO, 0.6, 2 / 3),
        (found(SHIFTED, 0.9), TWO, 0.61, 0),
        (found(marks((2, 2, 12, 22, 2)), 0.9), TWO, 0.0, 0),  # of another class
        (found(marks((50, 30, 55, 35, 1)), 0.9), TWO, 0.0, 0),  # elsewhere
        (found(marks((2, 2, 12, 22, 1), (2, 2, 12, 22, 1)), 0.7, 0.9), TWO, 0.5, 0.5),  # an object is found once
    ],
)
def test_f_score(one: Marks, true: Marks, overlap: float, expected: float) -> None:
    assert f_score(one, true, 0.5, overlap) == pytest.approx(expected)
    boxes = {key: tensor for key, tensor in one.items() if key != "masks"}
    assert f_score(boxes, true, 0.5, overlap) == pytest.approx(expected)  # every object fills its box

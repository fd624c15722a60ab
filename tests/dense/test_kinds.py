from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from taskfold.dense import KINDS, Depth, Edges, Kind, Normals, Segmentation
from taskfold.dense.kinds import Picture

ALL: list[Kind] = [Segmentation(3), Depth(), Normals(), Edges()]


def test_all_kinds_are_in_the_table() -> None:
    assert {kind.name: type(kind) for kind in ALL} == dict(KINDS)


@pytest.mark.parametrize(
    ("kind", "values", "cleaned"),
    [
        (Segmentation(3), [[0, 2, -1, 255]], [[0, 2, 255, 255]]),
        (Segmentation(3), [[0.0, 2.0, -1.0, np.nan]], [[0, 2, 255, 255]]),
        (Depth(), [[1.5, 0, -1, np.nan, np.inf, -np.inf]], [[1.5, 0, 0, 0, 0, 0]]),
        (Edges(), [[0, 0.25, 1, -1, np.nan]], [[0, 0.25, 1, -1, -1]]),
        (Edges(), [[True, False]], [[1, 0]]),
    ],
)
def test_what_files_hold_becomes_one_form(kind: Kind, values: Any, cleaned: Any) -> None:
    for array in (np.array(values), np.array(values)[..., None]):
        target = kind.clean(array)
        assert target.dtype == kind.dtype
        assert target[0].tolist() == cleaned


def test_normals_become_unit_vectors_or_nothing() -> None:
    target = Normals().clean(np.array([[[0, 0, -0.98], [0.004, -0.004, 0.004], [np.nan, 0, 1], [0.6, 0.8, 0]]]))
    expected = [[0, 0, -1], [0, 0, 0], [0, 0, 0], [0.6, 0.8, 0]]
    assert torch.allclose(target[:, 0].T, torch.tensor(expected, dtype=torch.float32))
    assert Normals().valid(target)[0, 0].tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Segmentation(3), np.array([[0, 3, 7]]), "must be 0 to 2, .*found 3, 7"),
        (Segmentation(3), np.array([[0.5]]), "whole numbers, found 0.5"),
        (Segmentation(3), np.zeros((4, 4, 3)), r"must be \[H, W\] or \[H, W, 1\], found \[4, 4, 3\]"),
        (Depth(), np.zeros((4, 4, 2)), "depth must be"),
        (Depth(), np.array([["a"]]), "must be numbers"),
        (Depth(), np.zeros((0, 4)), "depth must be"),
        (Normals(), np.zeros((4, 4)), r"must be \[H, W, 3\], found \[4, 4\]"),
        (Normals(), np.full((4, 4, 3), 127.0), "unit vectors, found a median length of 220"),
        (Edges(), np.array([[0, 255]]), "must be 0 to 1, .*found 255"),
    ],
)
def test_arrays_that_cannot_be_targets_are_refused(kind: Kind, values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind.clean(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Segmentation(1), "classes must be 2 to 255"),
        (lambda: Segmentation(3, ("a", "b")), "one for each of 3 classes, found 2"),
        (lambda: Normals(error="l3"), "l1 or cosine, found 'l3'"),  # type: ignore[arg-type]
        (lambda: Edges(positive_weight=1), "positive_weight"),
        (lambda: Edges(tolerance=0.5), "tolerance"),
    ],
)
def test_impossible_kinds_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_a_prediction_has_the_form_of_a_target_and_both_can_be_drawn(kind: Kind) -> None:
    output = torch.randn(2, kind.channels, 6, 8, generator=torch.Generator().manual_seed(0))
    prediction = kind.predict(output)
    target = kind.missing(6, 8)
    assert prediction.shape == (2, *target.shape) and prediction.dtype == target.dtype
    assert not kind.valid(target).any()
    drawn: tuple[Picture, Picture] = kind.pictures(prediction[0], target)
    assert all(picture.shape == (6, 8, 3) and picture.dtype == np.uint8 for picture in drawn)
    assert drawn[0].any() and not drawn[1].any()  # what is invalid is black


def test_pictures_mean_what_they_say() -> None:
    classes = Segmentation(3).picture(torch.tensor([[[0, 1, 2, 1]]], dtype=torch.uint8))
    assert len({tuple(colour) for colour in classes[0].tolist()}) == 3 and (classes[0, 1] == classes[0, 3]).all()
    assert Normals().picture(torch.tensor([0.0, 0, 1]).view(3, 1, 1)).tolist() == [[[128, 128, 255]]]
    assert Edges().picture(torch.tensor([[[0.0, 1.0, -1.0]]]))[0, :, 0].tolist() == [0, 255, 0]
    near_to_far = Depth().picture(torch.tensor([[[0.5, 1.0, 2.0, 3.0, 9.0]]]), (1.0, 3.0)).sum(2)[0]
    assert near_to_far[0] == near_to_far[1] > near_to_far[2] > near_to_far[3] == near_to_far[4]


def test_a_prediction_is_drawn_on_the_scale_of_its_target() -> None:
    target = torch.linspace(1, 3, 100).view(1, 10, 10)
    assert Depth().scale(target) == pytest.approx((1.04, 2.96))
    drawn, _ = Depth().pictures(target * 10, target)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1  # all beyond the far end

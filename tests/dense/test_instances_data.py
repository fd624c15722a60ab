"""Batches and pictures of instances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taskfold.dense import InstanceSample
from taskfold.dense.colours import class_colours
from taskfold.dense.instances import InstanceBatch, instance_picture


def test_batches_keep_their_samples_apart() -> None:
    masks = torch.zeros(2, 12, 16, dtype=torch.bool)
    objects = InstanceSample(torch.rand(3, 12, 16), torch.rand(2, 4), torch.tensor([1, 2]), masks, "0.npy")
    wide = InstanceSample(torch.rand(3, 4, 9), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 4, 9), "wide")
    batch = InstanceBatch.of([objects, wide])
    assert len(batch) == 2 and batch.names == ("0.npy", "wide")
    assert [tuple(image.shape) for image in batch.images] == [(3, 12, 16), (3, 4, 9)]
    turned = batch.rows([1, 0])
    assert turned.names == ("wide", "0.npy") and turned.targets[1] is batch.targets[0]
    moved = batch.to("meta")
    assert {t.device.type for one in moved.targets for t in one.values()} == {"meta"} == {moved.images[0].device.type}


def test_pictures_show_masks_and_frames() -> None:
    image, mask = torch.full((3, 6, 8), 0.2), torch.zeros(1, 6, 8, dtype=torch.bool)
    mask[0, 2:4, 3:5] = True
    boxes, classes = torch.tensor([[1.0, 1.0, 7.0, 5.0]]), torch.tensor([3])
    drawn = instance_picture(image, boxes, classes, mask)
    colour, plain = class_colours()[2].astype(float), np.full(3, 51.0)
    expected = np.tile(plain, (6, 8, 1))
    expected[2:4, 3:5] = (plain + colour) / 2
    expected[1, 1:7] = expected[4, 1:7] = expected[1:5, 1] = expected[1:5, 6] = colour
    assert np.abs(drawn - expected).max() <= 0.5
    large = instance_picture(
        image, boxes, classes, mask.float()[:, None], scale=3, scores=torch.tensor([0.4]), score=0.5
    )
    assert large.shape == (18, 24, 3) and (large == 51).all()  # below the score
    named = instance_picture(image, boxes, classes, mask, scale=8, labels=["a", "b", "c"])
    assert (named != instance_picture(image, boxes, classes, mask, scale=8)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(6, 8)}, r"image must be \[3, H, W\]"),
        ({"classes": torch.tensor([1, 2])}, "as many objects; found 1 boxes"),
        ({"masks": torch.zeros(1, 3, 8)}, r"masks must be of the image's size \[6, 8\]"),
        ({"scale": 0}, "scale must be a whole number ≥ 1, found 0"),
    ],
)
def test_pictures_that_cannot_be(change: dict, message: str) -> None:
    given = {"image": torch.zeros(3, 6, 8), "boxes": torch.zeros(1, 4), "classes": torch.tensor([1]), **change}
    with pytest.raises(ValueError, match=message):
        instance_picture(**given)

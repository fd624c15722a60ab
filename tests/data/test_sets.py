from __future__ import annotations

import numpy as np
import pytest

from taskfold.data import ArrayImages, ImageSet


def test_a_subset_keeps_image_target_and_name_together() -> None:
    pixels = np.arange(5, dtype=np.uint8).reshape(5, 1, 1)
    images = ImageSet([0, 10, 20, 30, 40], ArrayImages(pixels), list("abcde")).subset([4, 1, 3]).subset([2, 0])
    assert (len(images), images.targets, images.names) == (2, [30, 40], ["d", "e"])
    assert [images.read(i).getpixel((0, 0)) for i in range(2)] == [(3, 3, 3), (4, 4, 4)]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"targets, names: must be of equal length, found 2 and 1"):
        ImageSet([0, 1], ArrayImages(np.zeros((2, 1, 1), np.uint8)), ["a"])

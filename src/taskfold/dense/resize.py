"""Resizes images and targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""Height and width, pixels."""


def resize_image(image: Tensor, size: Size) -> Tensor:
    """An image `[3, H, W]` in another size: bilinear, antialiased, with aligned pixel centres, not corners."""
    if image.shape[1:] == torch.Size(size):
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def resize_target(target: Tensor, size: Size) -> Tensor:
    """A target `[C, H, W]` in another size, each pixel from the nearest one, with unchanged values."""
    if target.shape[1:] == torch.Size(size):
        return target
    return F.interpolate(target[None], size, mode="nearest-exact")[0]

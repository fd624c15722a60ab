"""Images and targets in another size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""Height and width, pixels."""


def resize_image(image: Tensor, size: Size) -> Tensor:
    """`[3, H, W]` to another size, bilinear, antialiased; pixel centres, not corners, lie on one another."""
    if image.shape[1:] == torch.Size(size):
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def resize_target(target: Tensor, size: Size) -> Tensor:
    """`[C, H, W]` to another size, every pixel from the nearest one; the values stay."""
    if target.shape[1:] == torch.Size(size):
        return target
    return F.interpolate(target[None], size, mode="nearest-exact")[0]

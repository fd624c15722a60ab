"""Pictures in a results document."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PALETTE = 256


def encode_png(pixels: NDArray[np.uint8]) -> str:
    """Bytes ``[H, W, 3]`` as a base64 PNG, without loss: grey, or a palette, if that suffices.

    Args:
        pixels: red, green, blue.

    Raises:
        ValueError: the array has another shape or type, or no pixels.

    Example:
        >>> encode_png(np.zeros((2, 2, 3), np.uint8))[:12]
        'iVBORw0KGgoA'
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"pixels must be uint8 [H, W, 3], found {pixels.dtype} {list(pixels.shape)}")
    buffer = io.BytesIO()
    _smallest(pixels).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _smallest(pixels: NDArray[np.uint8]) -> Image.Image:
    if (pixels == pixels[..., :1]).all():
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    wide: NDArray[Any] = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, indices = np.unique(wide, return_inverse=True)
    if len(colours) > PALETTE:
        return Image.fromarray(np.ascontiguousarray(pixels))
    image = Image.fromarray(indices.reshape(wide.shape).astype(np.uint8), "P")
    image.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1).astype(np.uint8).tobytes())
    return image

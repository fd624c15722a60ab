"""Colours for classes and for numbers."""

from __future__ import annotations

import colorsys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = 0.618034  # multiples of this share of the colour circle stay far apart
# From dark violet over red to pale yellow, brightness rising evenly.
RAMP = np.array([[20, 10, 50], [90, 20, 110], [165, 45, 95], [225, 95, 55], [250, 165, 45], [250, 250, 165]])


@cache
def class_colours() -> NDArray[np.uint8]:
    """A colour for each of 255 classes, `[256, 3]`; 255, to be ignored, is black.

    Example:
        >>> class_colours()[255].tolist(), len(np.unique(class_colours(), axis=0))
        ([0, 0, 0], 256)
    """
    colours = np.zeros((256, 3), np.uint8)
    for index in range(255):
        ring = index % 3
        rgb = colorsys.hsv_to_rgb(index * GOLDEN % 1, (0.55, 0.85, 0.4)[ring], (0.95, 0.7, 0.5)[ring] + 0.0005 * index)
        colours[index] = [round(255 * min(part, 1)) for part in rgb]
    colours.flags.writeable = False  # the array is shared
    return colours


def heat(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours `[H, W, 3]` of numbers `[H, W]`: 0 dark to 1 bright, clipped beyond.

    Example:
        >>> heat(np.array([[0.0, 1.0]])).tolist()
        [[[20, 10, 50], [250, 250, 165]]]
    """
    steps = np.linspace(0, 1, len(RAMP))
    clipped = np.clip(np.nan_to_num(values), 0, 1)
    return np.stack([np.interp(clipped, steps, RAMP[:, part]) for part in range(3)], -1).round().astype(np.uint8)

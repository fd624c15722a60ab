"""One lamp: light that weakens with distance, and shadows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._stage import Light

BIAS = 0.05  # metres that a surface may lie behind what the lamp sees and still be lit
BRIGHTNESS = 0.47


def lit(
    colour: NDArray[np.uint8],
    depth: NDArray[np.float64],
    shines: NDArray[np.bool_],
    view: NDArray[np.float64],
    focal: float,
    light: Light,
    lamp_view: NDArray[np.float64],
    lamp_depth: NDArray[np.float64],
    field: float,
) -> NDArray[np.float32]:
    """A rendered image as the lamp lights it, 0 to 1, exposed so that its mean is a little below one half.

    Args:
        colour: H × W × 3, as rendered.
        depth: H × W, metres along the axis.
        shines: H × W, where something gives light itself.
        view: the camera's matrix.
        focal: its focal length in pixels.
        light: the lamp.
        lamp_view: the matrix of a camera in the lamp's place.
        lamp_depth: square; what that camera sees, metres along its axis.
        field: from its top to its bottom, degrees.
    """
    height, width = depth.shape
    u = ((np.arange(width) - width / 2) / focal).astype(np.float32)
    v = ((height / 2 - 1 - np.arange(height)) / focal).astype(np.float32)[:, None]
    # From the camera's coordinates to the lamp's, written out: the same bits whatever library multiplies matrices.
    turn = lamp_view[:3, :3] @ view[:3, :3].T
    move = lamp_view[:3, 3] - turn @ view[:3, 3]
    far = depth.astype(np.float32)
    x, y, z = (
        far * (np.float32(a) * u + np.float32(b) * v - np.float32(c)) + np.float32(d)
        for (a, b, c), d in zip(turn, move, strict=True)
    )
    side = len(lamp_depth)
    scale = np.float32(side / 2 / np.tan(np.radians(field) / 2))
    below = np.maximum(-z, np.float32(1e-3))
    column = np.rint(x / below * scale + side // 2).astype(np.int32)
    row = np.rint(side // 2 - 1 - y / below * scale).astype(np.int32)
    inside = (z < -BIAS) & (column >= 0) & (column < side) & (row >= 0) & (row < side)
    reached = lamp_depth.astype(np.float32)[np.clip(row, 0, side - 1), np.clip(column, 0, side - 1)]
    blocked = inside & (below > reached + np.float32(BIAS))
    falling = 2 * (1 - light.ambient) / (1 + (x * x + y * y + z * z) / np.float32(light.reach**2))
    strength = light.ambient + falling * np.where(blocked, np.float32(1 - light.shadow), np.float32(1))
    strength = np.where(shines, np.float32(1.3), strength.astype(np.float32))
    image = colour * strength[..., None] * (np.array(light.tint, np.float32) / 255)
    exposure = np.clip(BRIGHTNESS / image.mean(dtype=np.float64), 0.6, 1.8)
    return (image * exposure).astype(np.float32)

"""From a z-buffer to metres, from metres to normals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST_RADIUS = 0.03  # metres; what bends more is an edge


def linear_depth(buffer: NDArray[np.floating], near: float, far: float) -> NDArray[np.float64]:
    """Metres along the camera's axis from a z-buffer in [0, 1].

    Example:
        >>> linear_depth(np.array([0.0, 1.0]), 0.1, 20.0).round(6).tolist()
        [0.1, 20.0]
    """
    return far * near / (far - (far - near) * buffer.astype(np.float64))


def normals(
    depth: NDArray[np.floating], surface: NDArray[np.integer], focal: float, axis: tuple[float, float]
) -> NDArray[np.float32]:
    """Unit normals of what the camera sees: x to the right, y up, z towards the camera; 0 where there is none.

    On a plane 1 / depth is an affine function of the pixel's place, and its two slopes are the normal; so slopes are
    taken of 1 / depth, and are exact on planes at any distance and slant. Along rows and along columns, of the three
    pixels that begin, surround or end at a pixel, those which bend least and belong to one surface give the slope.
    Where all three bend more than a ball of 3 cm does (an edge, a chair's leg one pixel wide), there is no normal.

    Args:
        depth: H × W, metres along the camera's axis.
        surface: H × W; pixels of different numbers are never compared.
        focal: focal length in pixels.
        axis: row and column where the camera's axis meets the image.
    """
    height, width = depth.shape
    q = 1 / np.asarray(depth, np.float64)
    limit = 1 / (focal**2 * SMALLEST_RADIUS)
    down, known_down = _slope(q, surface, limit)
    across, known_across = _slope(q.T, surface.T, limit)
    right, known = across.T, known_down & known_across.T
    u = np.arange(width) - axis[1]
    v = (np.arange(height) - axis[0])[:, None]
    found = np.stack([-focal * right, focal * down, q - right * u - down * v], -1)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return np.where(known[..., None], found, 0).astype(np.float32)


def _slope(
    q: NDArray[np.float64], surface: NDArray[np.integer], limit: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Slope along the first axis from the least bent three pixels, and where there is one."""
    bend = np.full((len(q) + 2, *q.shape[1:]), np.inf)  # bend[i + 1]: of pixels i − 1, i, i + 1
    same = (surface[:-2] == surface[1:-1]) & (surface[1:-1] == surface[2:])
    bend[2:-2] = np.where(same, np.abs(q[:-2] - 2 * q[1:-1] + q[2:]), np.inf)
    step = np.zeros((len(q) + 1, *q.shape[1:]))
    step[1:-1] = np.diff(q, axis=0)
    before, after = step[:-1], step[1:]
    choices = np.stack([bend[1:-1], bend[:-2], bend[2:]])
    slopes = np.stack([(before + after) / 2, before, after])
    least = choices.argmin(0)[None]
    return np.take_along_axis(slopes, least, 0)[0], np.take_along_axis(choices, least, 0)[0] < limit

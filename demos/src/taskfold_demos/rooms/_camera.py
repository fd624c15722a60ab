"""The camera: a pinhole that is the same in every room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._stage import Camera

NEAR, FAR = 0.1, 20.0
FIELD_OF_VIEW = 60.0  # degrees, from the top of the image to the bottom


def focal_length(height: int) -> float:
    """In pixels of an image of that height."""
    return height / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)


def view_matrix(camera: Camera) -> NDArray[np.float64]:
    """4 × 4, from the room's coordinates to the camera's: x right, y up, z backwards."""
    eye, target = np.array(camera.eye), np.array(camera.target)
    back = (eye - target) / np.linalg.norm(eye - target)
    up = np.array([0.0, 0, 1]) if abs(back[2]) < 0.999 else np.array([0.0, 1, 0])
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    c, s = np.cos(camera.roll), np.sin(camera.roll)
    rotation = np.stack([c * right + s * up, c * up - s * right, back])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = -rotation @ eye
    return matrix

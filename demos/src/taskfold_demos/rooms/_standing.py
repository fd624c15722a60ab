"""Where a mesh file must be put to stand."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._things import MeshFile, Vector


@cache
def _extent(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest corner of a mesh file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        points = np.array([line.split()[1:4] for line in file if line.startswith("v ")], float)
    return points.min(0), points.max(0)


def standing(data: Path, file: MeshFile) -> tuple[float, Vector, list[float]]:
    """Scale, offset and rotation with which a mesh stands on the origin."""
    low, high = _extent(data / file.path)
    turn = [0.0, 0.0, 0.0, 1.0]
    if file.upright == "y":  # (x, y, z) → (x, −z, y)
        turn = [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]
        low, high = np.array([low[0], -high[2], low[1]]), np.array([high[0], -low[2], high[1]])
    scale = file.height / (high[2] - low[2])
    x, y = -scale * (low + high)[:2] / 2
    return float(scale), (float(x), float(y), float(-scale * low[2])), turn

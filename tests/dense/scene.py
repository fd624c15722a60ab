"""A tilted plane seen by a pinhole camera: depth and normals known in closed form, with a hole in both."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from taskfold.dense import DenseSample, Depth, Edges, Kind, Normals, Segmentation

HEIGHT, WIDTH, FOCAL = 24, 32, 30.0
NORMAL = np.array([0.3, -0.2, -0.93]) / np.linalg.norm([0.3, -0.2, -0.93])  # x right, y down, z forward
DISTANCE = -2.0  # NORMAL · X = DISTANCE
HOLE = (slice(5, 9), slice(20, 26))
KINDS: dict[str, Kind] = {"segmentation": Segmentation(2), "depth": Depth(), "normals": Normals(), "edges": Edges()}


def depth_at(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres at pixel coordinates, whose origin is the image's corner."""
    across, down = (x - WIDTH / 2) / FOCAL, (y - HEIGHT / 2) / FOCAL
    return DISTANCE / (NORMAL[0] * across + NORMAL[1] * down + NORMAL[2])


def scene() -> DenseSample:
    """Left half class 0, right half class 1, an edge between them; the hole is invalid in all four."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    known = np.ones((HEIGHT, WIDTH), bool)
    known[HOLE] = False
    right = x > WIDTH / 2
    image = torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    values = {
        "segmentation": np.where(known, right, -1),
        "depth": np.where(known, depth_at(x, y), np.nan),
        "normals": np.where(known[..., None], NORMAL, 0.0),
        "edges": np.where(known, np.abs(x - WIDTH / 2) < 1, np.nan),
    }
    return DenseSample(image, {task: KINDS[task].clean(array) for task, array in values.items()}, "plane")

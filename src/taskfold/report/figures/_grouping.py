"""The order of tasks in a clustering."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from ..schema import Routing


def tree(routing: Routing) -> dict[str, Any]:
    """Average linkage of the tasks' distances: coordinates of the branches, and the order of the ``leaves``."""
    merged = linkage(squareform(np.array(routing.distances)), method="average", optimal_ordering=True)
    return dendrogram(merged, no_plot=True)


def order(routing: Routing) -> list[int]:
    """The order of the tasks, with similar ones side by side."""
    return [0] if len(routing.tasks) == 1 else list(tree(routing)["leaves"])

"""The size of each layer's change, per task."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from .._format import shorten
from .._style import family
from .._summary import Row, rows
from .._svg import styled
from ..schema import Results
from ._heat import by_layer

CAPTION = (
    "Size of each task's update relative to the frozen weight, ‖ΔW‖/‖W‖ in Frobenius norm, mean over seeds, "
    "layers from input (top) to output. Blank: not measured."
)


@styled
def figure(results: Results) -> Figure | None:
    """Layers × tasks for the FTN of highest rank, or for the largest method that has layers."""
    row = _chosen(rows(results))
    if row is None:
        return None
    tasks = [task.name for task in results.tasks if any(run.layers for run in row.on(task.name))]
    layers = list(dict.fromkeys(change.layer for run in row.runs for change in run.layers))
    ratios = np.array([[_mean(row, task, layer) for task in tasks] for layer in layers])
    label = f"{shorten(row.label, 40)}: ‖ΔW‖ / ‖W‖ (ratio)"
    return by_layer(layers, tasks, ratios, label, cmap="viridis", vmin=0)


def _chosen(table: tuple[Row, ...]) -> Row | None:
    candidates = [row for row in table if any(run.layers for run in row.runs)]
    return max(
        candidates, key=lambda row: (family(row.method) == "ftn", row.rank or 0, row.parameters or 0), default=None
    )


def _mean(row: Row, task: str, layer: str) -> float:
    found = [change.ratio for run in row.on(task) for change in run.layers if change.layer == layer]
    finite = [ratio for ratio in found if ratio is not None and math.isfinite(ratio)]
    return sum(finite) / len(finite) if finite else math.nan

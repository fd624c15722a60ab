"""The rank of each layer's update, per task, if the training has chosen it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from .._format import shorten
from .._summary import Row, rows
from .._svg import styled
from ..schema import Results
from ._heat import by_layer

CAPTION = (
    "Rank of each layer's update, chosen in training within a budget of numbers, mean over seeds, layers from input "
    "(top) to output. Rank 0: the task leaves the layer as it is. Blank: not adapted."
)


@styled
def figure(results: Results) -> Figure | None:
    """Layers × tasks for the most accurate method with ranks by layer."""
    candidates = [row for row in rows(results) if any(_ranks(run.settings) for run in row.runs)]
    row = max(candidates, key=_accuracy, default=None)
    if row is None:
        return None
    tasks = [task.name for task in results.tasks if any(_ranks(run.settings) for run in row.on(task.name))]
    layers = list(dict.fromkeys(layer for run in row.runs for layer in _ranks(run.settings)))
    values = np.array([[_mean(row, task, layer) for task in tasks] for layer in layers])
    highest = max(1, math.ceil(np.nanmax(values)))
    steps = BoundaryNorm(np.arange(-0.5, highest + 1), 256) if highest <= 12 else None
    colours = {"vmin": 0, "vmax": highest} if steps is None else {"norm": steps}
    drawing = by_layer(layers, tasks, values, f"{shorten(row.label, 40)}: rank", cmap="viridis", **colours)
    if steps is not None:
        drawing.axes[-1].set_xticks(range(highest + 1))
    return drawing


def _ranks(settings: Mapping[str, object]) -> dict[str, int]:
    """The ranks by layer; empty: settings have patterns, or one rank for all."""
    ranks = settings.get("rank")
    patterns = not isinstance(ranks, Mapping) or any({*"*?"} & {*name} for name in ranks)
    return {} if patterns else dict(ranks)  # type: ignore[arg-type]


def _accuracy(row: Row) -> float:
    found = [run.accuracy for run in row.runs if run.accuracy is not None]
    return sum(found) / len(found) if found else -1.0


def _mean(row: Row, task: str, layer: str) -> float:
    found = [ranks[layer] for run in row.on(task) if layer in (ranks := _ranks(run.settings))]
    return sum(found) / len(found) if found else math.nan

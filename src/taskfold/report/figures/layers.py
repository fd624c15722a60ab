"""How far each layer's weights moved, per task."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from .._format import shorten
from .._style import family
from .._summary import Row, rows
from .._svg import WIDTH, styled
from ..schema import Results

CAPTION = (
    "Size of each task's update relative to the frozen weight, ‖ΔW‖/‖W‖ in Frobenius norm, mean over seeds, "
    "layers from input (top) to output. Blank: not measured."
)
LABELLED = 90  # with more layers than this, not every one can carry its name


@styled
def figure(results: Results) -> Figure | None:
    """Layers × tasks for the FTN of highest rank, or for the largest method that has layers."""
    row = _chosen(rows(results))
    if row is None:
        return None
    tasks = [task.name for task in results.tasks if any(run.layers for run in row.on(task.name))]
    layers = list(dict.fromkeys(change.layer for run in row.runs for change in run.layers))
    ratios = np.array([[_mean(row, task, layer) for task in tasks] for layer in layers])

    every = math.ceil(len(layers) / LABELLED)
    height = 1.6 + max(0.15 * min(len(layers), 1.5 * LABELLED), 0.8)
    width = min(WIDTH, 3.6 + 0.4 * len(tasks))
    drawing = Figure(figsize=(width, height), layout="constrained")
    axes = drawing.add_subplot()
    image = axes.imshow(np.ma.masked_invalid(ratios), aspect="auto", cmap="viridis", vmin=0, interpolation="none")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks(range(0, len(layers), every), [shorten(name, 32) for name in layers[::every]], fontsize=8)
    axes.xaxis.tick_top()
    names = [shorten(name) for name in tasks]
    fits = 0.09 * max(map(len, names)) < (width - 1.8) / len(names)  # inches
    slant = {} if fits else {"rotation": 40 if len(tasks) <= 8 else 90, "ha": "left", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(tasks)), names, fontsize=9, va="bottom" if fits else "center", **slant)
    bar = drawing.colorbar(image, ax=axes, location="top", fraction=0.12 / height, aspect=24, shrink=0.8)
    bar.set_label(f"{shorten(row.label, 40)}: ‖ΔW‖ / ‖W‖ (ratio)", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return drawing


def _chosen(table: tuple[Row, ...]) -> Row | None:
    candidates = [row for row in table if any(run.layers for run in row.runs)]
    return max(
        candidates,
        key=lambda row: (family(row.method) == "ftn", row.rank or 0, row.parameters or 0),
        default=None,
    )


def _mean(row: Row, task: str, layer: str) -> float:
    found = [change.ratio for run in row.on(task) for change in run.layers if change.layer == layer]
    finite = [ratio for ratio in found if ratio is not None and math.isfinite(ratio)]
    return sum(finite) / len(finite) if finite else math.nan

"""Affinities between tasks: which help and which hurt one another."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .._format import MINUS, shorten
from .._style import INK
from .._svg import WIDTH, styled
from ..schema import AffinityMap, AffinityMatrix
from ._heat import heatmap, scale

NUMBERED = 8
"""The most tasks whose numbers are printed in the cells."""
MARKED = 24
"""The most tasks whose uncertain cells are marked."""
TITLES = {
    "linear": "Who helps whom, to first order",
    "lookahead": "Who helps whom, as seen",
    "cosine": "Whose gradients agree",
}
LABELS = {
    "linear": "loss that one step takes away (%)",
    "lookahead": "loss that one step takes away (%)",
    "cosine": "cosine of the gradients",
}
CAPTION = (
    "{what} Mean over {measurements} measurements in {steps} steps of joint training. Blue helps, red hurts; {marks} "
    "two standard errors hold 0. Frames: groups."
)
WHAT = {
    "linear": "A step for the task on the left, along its gradient on what the tasks share: the part of the loss of "
    "the task below that it takes away, to first order.",
    "lookahead": "The same, where the step was taken and the loss looked at.",
    "cosine": "Cosine between the gradients of two tasks on what they share; below 0 they conflict.",
}


def caption(found: AffinityMap, matrix: AffinityMatrix) -> str:
    """The caption of `figure`."""
    total = len(found.tasks)
    marks = "in brackets:" if total <= NUMBERED else "dots:" if total <= MARKED else "uncertain cells are not marked:"
    return CAPTION.format(what=WHAT[matrix.measure], measurements=found.measurements, steps=found.steps, marks=marks)


@styled
def figure(found: AffinityMap, matrix: AffinityMatrix) -> Figure | None:
    """A matrix of tasks with groups side by side, without the diagonal."""
    total, unit = len(found.tasks), 1 if matrix.measure == "cosine" else 100
    mean, half = unit * np.array(matrix.mean), unit * np.array(matrix.half)
    np.fill_diagonal(mean, np.nan)
    names = [shorten(name, 24) for name in found.tasks]
    size = 9 if total <= NUMBERED else 8 if total <= 30 else 6
    side = 0.062 * size / 8 * max(map(len, names))  # inches for the names
    cell = min((WIDTH - side - 0.3) / total, 0.62)
    drawing = Figure(figsize=(min(WIDTH, cell * total + side + 1.6), cell * total + side + 1.1), layout="constrained")
    axes = drawing.add_subplot()
    limit = max(float(np.nanmax(np.abs(mean))), 1e-9)
    image = heatmap(axes, mean, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set_aspect("equal")
    axes.set_yticks(range(total), names, fontsize=size)
    axes.set_xticks(range(total), names, fontsize=size, rotation=90)
    uncertain = np.abs(mean) <= half
    if total <= NUMBERED:
        for i, j in np.argwhere(np.isfinite(mean)):
            strong = abs(mean[i, j]) > 0.6 * limit
            text = number(float(mean[i, j]), cosine=matrix.measure == "cosine")
            axes.text(
                j,
                i,
                f"({text})" if uncertain[i, j] else text,
                ha="center",
                va="center",
                fontsize=7 if total > 5 else 8,
                color="#ffffff" if strong else "#111111",  # on the cell's own colour, in light and in dark
            )
    elif total <= MARKED:
        spots = np.argwhere(uncertain & np.isfinite(mean))
        axes.plot(spots[:, 1], spots[:, 0], ".", ms=2, color="#111111")
    start = 0
    for group in found.groups:
        frame = Rectangle((start - 0.5, start - 0.5), len(group), len(group), fill=False, ec=INK, lw=1.8, clip_on=False)
        axes.add_patch(frame)
        start += len(group)
    scale(drawing, image, axes, LABELS[matrix.measure], min(0.2 / (cell * total), 0.15))
    return drawing


def number(value: float, *, cosine: bool) -> str:
    """A value with its sign and at least two digits.

    >>> number(0.0123, cosine=False), number(-3.21, cosine=False), number(0.5, cosine=True)
    ('+0.012', '−3.2', '+0.50')
    """
    size = abs(value)
    text = f"{size:.2f}" if cosine or 0.1 <= size < 1 else f"{size:.1f}" if size >= 1 else f"{size:.3f}"
    return ("+" if value >= 0 else MINUS) + text

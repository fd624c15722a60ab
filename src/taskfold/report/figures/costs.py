"""Scores against costs of a comparison's rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .._comparison import IN_PERCENT, SHOW
from .._format import shorten
from .._marks import METHODS, page_marks
from .._svg import WIDTH, styled
from ..schema import Comparison, ComparisonColumn, Results
from ._labels import log_ticks

COLUMNS, PANEL = 2, 2.3  # panels in a row; their height in inches
ASIDE = 4.0  # a cost of 0 is drawn at the least positive cost divided by this
LEGEND = 3  # names in a row
CLOSE = 4.0  # highest cost over lowest for a linear axis


def caption(comparison: Comparison) -> str:
    """The caption of the figure."""
    score = next((column for column in comparison.columns if column.axis == "score"), None)
    side = "lower" if score is not None and score.best == "lowest" else "higher"
    return (
        f"Each panel has the same scores over another cost: {side}, and to the left, is better. Bars are one standard "
        "deviation over seeds, where there are several. Costs far from each other are drawn logarithmically, and what "
        "costs nothing stands at 0. A method that could not be measured in one way is left out there."
    )


@styled
def figure(results: Results, comparison: Comparison) -> Figure | None:
    """One panel for each cost; None: rows are not methods, or fewer than two have a score and a cost."""
    if comparison.first != METHODS:
        return None
    scores = [n for n, column in enumerate(comparison.columns) if column.axis == "score"]
    costs = [n for n, column in enumerate(comparison.columns) if column.axis == "cost"]
    panels = [n for n in costs if scores and len(_points(comparison, scores[0], n)) > 1]
    if not panels:
        return None
    score, marks = comparison.columns[scores[0]], page_marks(results)
    deep = math.ceil(len(panels) / COLUMNS)
    named = [row.label for row in comparison.rows if row.cells[scores[0]].mean is not None]
    height = PANEL * deep + 0.22 * math.ceil(len(named) / LEGEND) + 0.2
    drawing = Figure(figsize=(WIDTH, height), layout="constrained")
    every = drawing.subplots(deep, min(COLUMNS, len(panels)), sharey=True, squeeze=False).flat
    shown: dict[str, Any] = {}
    for axes, n in zip(every, panels, strict=False):
        points = _points(comparison, scores[0], n)
        zero = min((x for _, x, _, _ in points if x > 0), default=1.0) / ASIDE
        for label, x, y, spread in points:
            mark = marks[label]
            look: dict[str, Any] = {"fmt": mark.marker, "color": mark.color, "alpha": mark.alpha, "ms": 7, "capsize": 2}
            shown[label] = axes.errorbar(x or zero, y, spread or None, zorder=3, **look)
        _costs(axes, comparison.columns[n], [x or zero for _, x, _, _ in points], zero)
    for axes in list(every)[len(panels) :]:
        axes.set_visible(False)
    drawing.supylabel(f"{score.name}{' (%)' if score.kind in IN_PERCENT else ''}", fontsize=10)
    names = [label for label in named if label in shown]
    drawing.legend(
        [shown[label] for label in names],
        [shorten(label, 26) for label in names],
        loc="outside lower center",
        ncols=LEGEND,
        frameon=False,
        fontsize=8,
    )
    return drawing


def _points(comparison: Comparison, score: int, cost: int) -> list[tuple[str, float, float, float]]:
    """For each row with both: its label, its cost, its score, and the score's deviation."""
    scale = 100.0 if comparison.columns[score].kind == "percent" else 1.0
    found = []
    for row in comparison.rows:
        x, y = row.cells[cost].mean, row.cells[score]
        if x is not None and y.mean is not None and x >= 0 and math.isfinite(x) and math.isfinite(y.mean):
            found.append((row.label, x, scale * y.mean, scale * (y.std or 0.0)))
    return found


def _costs(axes: Axes, column: ComparisonColumn, xs: Sequence[float], zero: float) -> None:
    """A logarithmic axis whose lowest tick may be 0; a linear one for costs close to one another."""
    show, free = SHOW[column.kind], zero in xs
    axes.tick_params("x", labelsize=8)
    axes.set_xlabel(column.name, fontsize=9)
    if not free and max(xs) < CLOSE * min(xs):
        room = 0.15 * (max(xs) - min(xs)) or 0.05 * max(xs)
        axes.set_xlim(min(xs) - room, max(xs) + room)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
        return
    positive = [x for x in xs if x != zero] or [4 * zero]
    decades = range(math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive))) + 1)
    within = (1, 2, 5) if len(decades) < 3 else (1,)
    ticks = [step * 10.0**power for power in decades[:: math.ceil(len(decades) / 5)] for step in within]
    low, high = min(xs) / 2, max(xs) * 2
    ticks = [tick for tick in ticks if low <= tick <= high and (not free or tick > 1.5 * zero)]
    if len(ticks) < 2:
        ticks = sorted({min(positive), max(positive)})
    log_ticks(axes, [zero, *ticks] if free else ticks, lambda value: "0" if value == zero else show(value))
    axes.set_xlim(low, high)

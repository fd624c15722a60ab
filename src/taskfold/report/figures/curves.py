"""Learning curves, one row of panels per task."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .._format import shorten
from .._marks import page_marks
from .._style import Mark
from .._summary import rows
from .._svg import WIDTH, styled
from ..schema import CurvePoint, Results, Run

CAPTION = (
    "Left: accuracy on the validation images; beside it the training loss. With several seeds, their mean and their "
    "range, up to the last epoch that all reached; within one method a stronger line has more parameters. "
    "A failed run ends in ×. Where methods add a penalty to the loss, it stands rightmost."
)
MEASURED = 6  # measured labels take quadratic time: with more tasks they have a fixed place
PANELS: tuple[tuple[str, Callable[[CurvePoint], float | None]], ...] = (
    ("val. accuracy (%)", lambda point: None if point.val_accuracy is None else 100 * point.val_accuracy),
    ("training loss", lambda point: point.train_loss),
)
PENALTY: tuple[str, Callable[[CurvePoint], float | None]] = ("penalty", lambda point: point.penalty)


@styled
def figure(results: Results) -> Figure | None:
    """Validation accuracy, training loss, and penalties if there are any, over epochs."""
    names = [task.name for task in results.tasks]
    tasks = [name for name in names if any(run.task == name and run.curve for run in results.runs)]
    if not tasks:
        return None
    penalised = any(point.penalty is not None for run in results.runs for point in run.curve)
    shown_panels = (*PANELS, PENALTY) if penalised else PANELS
    table = rows(results)
    tone = page_marks(results)
    shown = [row for row in table if any(run.curve for run in row.runs)]
    height = (1.9 if len(tasks) <= 6 else 1.5) * len(tasks) + 0.4 + 0.2 * ((len(shown) + 2) // 3)
    drawing = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = drawing.subplots(len(tasks), len(shown_panels), squeeze=False)
    for panels, task in zip(grid, tasks, strict=True):
        for axes, (title, value) in zip(panels, shown_panels, strict=True):
            axes.set_ylabel(title, fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.tick_params(labelsize=9)
            for row in shown:
                _draw(axes, row.on(task), value, tone[row.label])
        panels[0].set_title(shorten(task, 34), loc="left", fontweight="bold")
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=9)
    if len(tasks) <= MEASURED:
        drawing.align_ylabels(grid)
    else:
        for axes in grid.flat:
            axes.yaxis.set_label_coords(-0.22, 0.5)

    handles = [_handle(tone[row.label]) for row in shown]
    legend = drawing.legend(
        handles, ["name"] * len(handles), loc="outside upper left", ncols=3, frameon=False, fontsize=9
    )
    for text, row in zip(legend.get_texts(), shown, strict=True):  # matplotlib hides labels that begin with "_"
        text.set_text(shorten(row.label, 24))
    return drawing


def _draw(axes: Axes, runs: tuple[Run, ...], value: Callable[[CurvePoint], float | None], mark: Mark) -> None:
    style: dict[str, Any] = {"color": mark.color, "lw": 1.5}
    for run in runs:
        if run.failed is not None and (line := _line(run, value)):
            axes.plot(list(line), list(line.values()), **style, alpha=0.5)
            axes.plot(*list(line.items())[-1], "x", color=mark.color, ms=7, mew=2)
    lines = [line for run in runs if run.failed is None and (line := _line(run, value))]
    # only epochs that all seeds reached: a mean over varying seeds would jump
    epochs = sorted(set.intersection(*map(set, lines))) if lines else []
    if epochs:
        columns = [[line[epoch] for line in lines] for epoch in epochs]
        marker = mark.marker if len(epochs) == 1 else None
        style |= {"ls": mark.dash, "alpha": mark.alpha, "marker": marker, "ms": 5}
        axes.plot(epochs, [statistics.fmean(column) for column in columns], **style)
        if len(lines) > 1:
            low, high = [min(column) for column in columns], [max(column) for column in columns]
            axes.fill_between(epochs, low, high, color=mark.color, alpha=0.15, lw=0)


def _line(run: Run, value: Callable[[CurvePoint], float | None]) -> dict[float, float]:
    found = ((point.epoch, value(point)) for point in run.curve)
    return {epoch: y for epoch, y in found if y is not None and math.isfinite(y)}


def _handle(mark: Mark) -> Line2D:
    return Line2D([], [], color=mark.color, ls=mark.dash, alpha=mark.alpha, lw=1.5)

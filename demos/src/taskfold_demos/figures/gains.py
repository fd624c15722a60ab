"""What methods gain over single-task networks: Δm, and beside it each task."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from taskfold.report import Results
from taskfold.report.drawing import INK, MINUS, WIDTH, Mark, page_marks, shorten, signed, styled

from ._gains import GainRow, Gains
from ._gains_table import DELTA, stat

BESIDE = 4  # panels of tasks that fit beside Δm; more make further rows of panels
NAME = 20  # characters in a line of a method's name
LINE = 8 * 1.15 / 72  # inches


def caption(gains: Gains) -> str:
    """The part's own note, and how to read the bars."""
    several = any(len(row.values()) > 1 for row in gains.rows)
    how = (
        f"Gain over {gains.single} in % of that score: to the right of the line is better. {DELTA} is the mean over "
        "the tasks; their panels have one scale in common."
    )
    spread = " Bars: mean over seeds, with one standard deviation; dots: the seeds." if several else ""
    partly = any(row.failures and row.values() for row in gains.rows)
    some = " (2 of 3): seeds that did not fail." if partly else ""
    failed = " ×: all failed." if any(len(row.failures) == len(row.runs) for row in gains.rows) else ""
    return f"{gains.note} {how}{spread}{some}{failed}".strip()


@styled
def figure(results: Results, gains: Gains) -> Figure | None:
    """One row per method in the order given; None where every run failed."""
    if not any(row.values(task) for row in gains.rows for task in (None, *gains.tasks)):
        return None
    columns = 1 + min(len(gains.tasks), BESIDE)
    panels: list[str | None] = [None, *gains.tasks]
    deep = math.ceil(len(panels) / columns)
    names = [_name(row) for row in gains.rows]
    row = LINE * (max(name.count("\n") for name in names) + 1) + 0.1
    height = deep * (row * len(names) + 0.6)
    drawing = Figure(figsize=(WIDTH, height), layout="constrained")
    widths = [1.0 if deep > 1 else 1.5, *[1.0] * (columns - 1)]
    grid = drawing.subplots(deep, columns, squeeze=False, sharey=True, gridspec_kw={"width_ratios": widths})
    marks, every = page_marks(results), list(grid.flat)
    limits = _limits(gains, gains.tasks)
    for axes, task in zip(every, panels, strict=False):
        for place, row in enumerate(gains.rows):
            _bar(axes, place, row, task, marks[row.label])
        _frame(axes, task, limits if task else _limits(gains, (None,)))
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(names)), names, fontsize=8, linespacing=1.15)
    grid[0, 0].set_ylim(len(names) - 0.45, -0.55)
    return drawing


def _bar(axes: Axes, place: int, row: GainRow, task: str | None, mark: Mark) -> None:
    found = stat(row, task)
    if found is None:
        failed = len(row.failures) == len(row.runs)
        style: Any = {"va": "center_baseline", "ha": "center", "color": mark.color, "fontweight": "bold"}
        axes.text(0, place, "×" if failed else "–", fontsize=13 if failed else 10, **style)
        return
    axes.barh(place, found.mean, height=0.62, color=mark.color, alpha=0.45, lw=0)
    if found.std is not None:
        axes.errorbar(found.mean, place, xerr=found.std, fmt="none", color=mark.color, lw=1.4, capsize=2.5)
        values = row.values(task)
        apart = min(0.14, 0.42 / len(values))  # seeds of nearly the same value stay apart
        at = [place + apart * (index - (len(values) - 1) / 2) for index in range(len(values))]
        axes.plot(values, at, "o", ms=3, color=mark.color, mec=INK, mew=0.4)


def _frame(axes: Axes, task: str | None, limits: tuple[float, float]) -> None:
    axes.axvline(0, color=INK, lw=1.2, zorder=3)
    axes.set_xlim(*limits)
    if task is None:
        axes.set_title(f"{DELTA} (%)", fontsize=9, fontweight="bold", loc="left")
    else:
        axes.set_title(shorten(task, 13), fontsize=8, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(4 if task is None else 3, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS)))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _name(row: GainRow) -> str:
    """The method, and below it its Δm in numbers."""
    found, measured, made = stat(row), len(row.runs) - len(row.failures), len(row.runs)
    if found is None:
        said = "not measured" if measured else "failed"
    else:
        spread = "" if found.std is None else f" ± {found.std:.1f}"
        said = f"{signed(found.mean)}{spread} %" + (f" ({measured} of {made})" if measured < made else "")
    return "\n".join([*textwrap.wrap(shorten(row.label, 2 * NAME), NAME), said])


def _limits(gains: Gains, tasks: tuple[str | None, ...]) -> tuple[float, float]:
    """Ends that hold every seed and spread, with some air; zero is always inside."""
    ends = [0.0]
    for row in gains.rows:
        for task in tasks:
            if found := stat(row, task):
                spread = found.std or 0.0
                ends += [found.mean - spread, found.mean + spread, *row.values(task)]
    low, high = min(ends), max(ends)
    air = 0.06 * (high - low) or 1.0
    return low - air, high + air

"""Lines over a varied quantity."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .._format import count
from .._marks import study_marks
from .._style import Mark
from .._svg import WIDTH, styled
from ..schema import Results, Series, Study
from ._labels import Label, beside, log_ticks

CAPTION = "Means over seeds, the band is one standard deviation; a line's name stands beside its end."
POINTS = 16  # with more points, single ones are not marked


def caption(study: Study) -> str:
    """The study's note, and the explanation of the lines."""
    spread = any(series.std and any(series.std) for series in study.series)
    how = CAPTION if spread else "A line's name stands beside its end; no spread over seeds is known."
    scale = f" {study.x[:1].upper()}{study.x[1:]} is drawn logarithmically." if study.log_x else ""
    return f"{study.note} {how}{scale}".strip()


@styled
def figure(results: Results, study: Study) -> Figure | None:
    """One line per series with its band; None: no number is finite."""
    marks = study_marks(results, study)
    height = max(3.4, 0.19 * len(study.series) + 1)
    drawing = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = drawing.add_subplot()
    labels = [label for series in study.series if (label := _line(axes, series, marks[series.label]))]
    if not labels:
        return None
    if study.log_x:
        _powers(axes, [x for series in study.series for x in series.x])
    elif all(float(x).is_integer() for series in study.series for x in series.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02, y=0.06)
    axes.set_xlabel(study.x)
    axes.set_ylabel(study.y)
    beside(axes, labels, height - 0.8)
    return drawing


def _line(axes: Axes, series: Series, mark: Mark) -> Label | None:
    ranked = np.argsort(series.x, kind="stable")
    x, y = np.array(series.x)[ranked], np.array(series.mean, dtype=float)[ranked]
    known = np.isfinite(y)
    if not known.any():
        return None
    x, y = x[known], y[known]
    marker = mark.marker if len(x) <= POINTS else None
    axes.plot(x, y, color=mark.color, ls=mark.dash, alpha=mark.alpha, lw=1.8, marker=marker, ms=5)
    if series.std is not None:
        spread = np.nan_to_num(np.array(series.std, dtype=float)[ranked][known])
        axes.fill_between(x, y - spread, y + spread, color=mark.color, alpha=0.15, lw=0)
    return Label(float(x[-1]), float(y[-1]), series.label, mark.color)


def _powers(axes: Axes, found: list[float]) -> None:
    """Powers of two as ticks, thinned out if there are many."""
    low, high = math.floor(math.log2(min(found))), math.ceil(math.log2(max(found)))
    step = max(1, math.ceil((high - low) / 10))
    values = sorted(set(found))
    ticks = values if len(values) <= 10 else [2.0**power for power in range(low, high + 1, step)]
    log_ticks(axes, ticks, lambda value: f"{value:g}" if value < 10_000 else count(value))

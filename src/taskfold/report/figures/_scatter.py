"""What something is worth against how many numbers it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from .._format import count
from .._style import Mark
from .._svg import WIDTH
from ._labels import Label, log_ticks, near


class Point(NamedTuple):
    """A mark at (x, y ± spread); those of one group are joined by a line."""

    x: float
    y: float
    spread: float
    label: str
    group: str
    mark: Mark
    strong: bool = False


def scatter(points: Sequence[Point], x: str, y: str, height: float = 3.8) -> Figure:
    """The points over a logarithmic axis, each with its label beside it."""
    drawing = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = drawing.add_subplot()
    joined: dict[str, list[Point]] = {}
    for point in points:
        mark = point.mark
        axes.errorbar(
            point.x, point.y, point.spread or None, fmt=mark.marker, color=mark.color, ms=8, capsize=3, zorder=3
        )
        joined.setdefault(point.group, []).append(point)
    for group in joined.values():
        ends = sorted((point.x, point.y) for point in group)
        axes.plot(*zip(*ends, strict=True), color=group[0].mark.color, lw=1, alpha=0.6)
    sizes = [point.x for point in points]
    decades = range(math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes))) + 1)
    within = (1,) if len(decades) > 2 else (1, 2, 5)
    log_ticks(axes, [step * 10.0**power for power in decades for step in within], count)
    axes.set_xlim(min(sizes) / 2.5, max(sizes) * 2.5)
    axes.margins(y=0.12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    near(drawing, axes, [Label(p.x, p.y, p.label, p.mark.color, p.strong, p.spread) for p in points])
    return drawing

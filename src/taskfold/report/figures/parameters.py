"""Accuracy against parameters per task."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from .._format import count
from .._marks import page_marks
from .._style import family
from .._summary import rows
from .._svg import WIDTH, styled
from ..schema import Results
from ._labels import Label, log_ticks, near

CAPTION = (
    "Mean over the tasks, with one standard deviation over seeds where there are several; further up and to "
    "the left is better. Parameters include the head. Methods not measured on every task are left out here."
)


@styled
def figure(results: Results) -> Figure | None:
    """One point per method; the settings of one method are joined."""
    every, tasks = rows(results), {task.name for task in results.tasks}
    table = [row for row in every if row.parameters and row.tasks() == tasks]
    if not table:
        return None
    tone = page_marks(results)
    drawing = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = drawing.add_subplot()
    joined: dict[str, list[tuple[float, float]]] = {}
    labels = []
    for row in table:
        mean, size = row.mean(), row.parameters
        assert mean is not None  # the choice of rows guarantees this
        assert size is not None
        x, y, mark = size, 100 * mean.mean, tone[row.label]
        spread = 0 if mean.std is None else 100 * mean.std
        axes.errorbar(x, y, spread or None, fmt=mark.marker, color=mark.color, ms=8, capsize=3, zorder=3)
        joined.setdefault(row.method, []).append((x, y))
        labels.append(Label(x, y, row.label, mark.color, family(row.method) == "ftn", spread))
    for method, points in joined.items():
        color = next(tone[row.label].color for row in table if row.method == method)
        axes.plot(*zip(*sorted(points), strict=True), color=color, lw=1, alpha=0.6)

    sizes = [label.x for label in labels]
    decades = range(math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes))) + 1)
    within = (1,) if len(decades) > 2 else (1, 2, 5)
    log_ticks(axes, [step * 10.0**power for power in decades for step in within], count)
    axes.set_xlim(min(sizes) / 2.5, max(sizes) * 2.5)
    axes.margins(y=0.12)
    axes.set_xlabel("parameters per task (logarithmic)")
    axes.set_ylabel("mean test accuracy (%)")
    near(drawing, axes, labels)
    return drawing

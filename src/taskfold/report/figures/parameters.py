"""Accuracy against parameters per task."""

from __future__ import annotations

from matplotlib.figure import Figure

from .._marks import page_marks
from .._style import family
from .._summary import rows
from .._svg import styled
from ..schema import Results
from ._scatter import Point, scatter

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
    points = []
    for row in table:
        mean, size = row.mean(), row.parameters
        assert mean is not None  # guaranteed by the choice of rows
        assert size is not None
        spread = 0 if mean.std is None else 100 * mean.std
        strong = family(row.method) == "ftn"
        points.append(Point(size, 100 * mean.mean, spread, row.label, row.method, tone[row.label], strong))
    return scatter(points, "parameters per task (logarithmic)", "mean test accuracy (%)")

"""A comparison's first share against its first number of parameters."""

from __future__ import annotations

from matplotlib.figure import Figure

from .._marks import METHODS, page_marks
from .._svg import styled
from ..schema import Comparison, Results
from ._scatter import Point, scatter

CAPTION = "The table's first column; further up and to the left is better. Ways of one method are joined."


@styled
def figure(results: Results, comparison: Comparison) -> Figure | None:
    """One point per row of methods that has both; None where there are fewer than two."""
    kinds = [column.kind for column in comparison.columns]
    if comparison.first != METHODS or not {"percent", "count"} <= set(kinds):
        return None
    value, size = kinds.index("percent"), kinds.index("count")
    marks, points = page_marks(results), []
    for row in comparison.rows:
        x, y = row.cells[size].mean, row.cells[value]
        if x and y.mean is not None:
            method, _, way = row.label.partition(" · ")
            group = method if way else row.label
            points.append(Point(x, 100 * y.mean, 100 * (y.std or 0), row.label, group, marks[row.label]))
    titles = [comparison.columns[index].title for index in (size, value)]
    return scatter(points, f"{titles[0]} (logarithmic)", f"{titles[1]} (%)", 4.6) if len(points) > 1 else None

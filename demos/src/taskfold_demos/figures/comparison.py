"""The first shares of a comparison as dots, row by row, beside the number of parameters that each row has."""

from __future__ import annotations

import textwrap

from matplotlib.figure import Figure

from taskfold.report import Results
from taskfold.report.drawing import METHODS, MUTED, WIDTH, count, page_marks, shorten, styled
from taskfold.report.schema import Comparison, ComparisonRow

CAPTION = "Dots and bars: mean and one standard deviation over seeds, where there are several. Right: {}."


def caption(comparison: Comparison) -> str:
    """How to read it."""
    sizes = [column.name for column in comparison.columns if column.kind == "count"]
    return CAPTION.format(sizes[0] if sizes else "")


@styled
def figure(results: Results, comparison: Comparison) -> Figure | None:
    """Shares of one kind (`exact match, 32 examples`, `exact match, 128 examples`), filled dots and hollow ones.

    None where the rows are no methods, have no such columns or no counts, or are fewer than two.
    """
    kinds = [column.kind for column in comparison.columns]
    if comparison.first != METHODS or not {"percent", "count"} <= set(kinds) or len(comparison.rows) < 2:
        return None
    stem = comparison.columns[kinds.index("percent")].name.partition(",")[0]
    shown = [
        index
        for index, column in enumerate(comparison.columns)
        if column.kind == "percent" and column.name.partition(",")[0] == stem
    ][:2]
    marks, size = page_marks(results), kinds.index("count")
    apart = 0.28 if len(shown) > 1 else 0.0
    drawing = Figure(figsize=(WIDTH, 0.23 * len(comparison.rows) + 1.1), layout="constrained")
    axes = drawing.add_subplot()
    for place, row in enumerate(comparison.rows):
        mark = marks[row.label]
        for which, index in enumerate(shown):
            cell = row.cells[index]
            if cell.mean is not None:
                spread = None if cell.std is None else 100 * cell.std
                at = place + apart * (which - 0.5)
                look = {"color": mark.color, "mfc": "white" if which else mark.color, "ms": 5, "lw": 1.2}
                axes.errorbar(100 * cell.mean, at, xerr=spread, fmt="o", capsize=2, **look)  # type: ignore[arg-type]
        axes.annotate(
            _size(row, size), (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=MUTED
        )
    heading = textwrap.fill(comparison.columns[size].name, 12)
    axes.annotate(heading, (1.02, 1), xycoords="axes fraction", va="bottom", fontsize=8, color=MUTED)
    axes.set_yticks(range(len(comparison.rows)), [shorten(row.label, 34) for row in comparison.rows], fontsize=8)
    axes.set_ylim(len(comparison.rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    ends = [comparison.columns[index].name.partition(",")[2].strip() for index in shown]
    legend = f": ● {ends[0]}, ○ {ends[1]}" if len(ends) > 1 else ""
    axes.set_xlabel(f"{stem} (%){legend}")
    return drawing


def _size(row: ComparisonRow, index: int) -> str:
    mean = row.cells[index].mean
    return "" if mean is None else count(mean)

"""Tables of anything: what each cell says, and which are the best of their column."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ._format import count, duration, percent, size
from ._table import Cell, Table
from .schema import Comparison, ComparisonColumn, Measure

SHOW: Mapping[str, Callable[[float], str]] = {
    "number": lambda value: f"{value:.4g}",
    "percent": percent,
    "count": count,
    "seconds": duration,
    "bytes": size,
}
INFINITE = float("inf")


def tabulate(comparison: Comparison) -> Table:
    """Fill the table."""
    columns = [
        _fill(column, [row.cells[index] for row in comparison.rows]) for index, column in enumerate(comparison.columns)
    ]
    return Table(
        titles=tuple(_title(column) for column in comparison.columns),
        rows=tuple((row, tuple(cells[index] for cells in columns)) for index, row in enumerate(comparison.rows)),
    )


def _title(column: ComparisonColumn) -> str:
    return f"{column.title} (%)" if column.kind == "percent" and "%" not in column.title else column.title


def _fill(column: ComparisonColumn, measures: list[Measure]) -> list[Cell]:
    show = SHOW[column.kind]
    numbers = [each.mean if each.mean is not None and abs(each.mean) < INFINITE else None for each in measures]
    known = {number for number in numbers if number is not None}
    # Compared as printed: what reads the same is equally good.
    best = None
    if column.best is not None and len(known) > 1:
        best = show(max(known) if column.best == "highest" else min(known))
    return [
        Cell(show(number), _remark(measure, show), best=show(number) == best)
        if number is not None
        else Cell(measure.text or "–")
        if measure.mean is None
        else Cell("not finite", failed=True)
        for measure, number in zip(measures, numbers, strict=True)
    ]


def _remark(measure: Measure, show: Callable[[float], str]) -> str:
    if measure.std is not None:
        return f"± {show(measure.std)}"
    return "" if measure.n is None else f"n={measure.n}"

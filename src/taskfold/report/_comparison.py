"""Tables of comparisons: the text of each cell, and the best cells of each column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ._format import alike, count, duration, percent, signed, size
from ._table import Cell, Table
from .schema import Comparison, ComparisonColumn, Measure

SHOW: Mapping[str, Callable[[float], str]] = {
    "number": lambda value: f"{value:.4g}",
    "percent": percent,
    "gain": signed,
    "count": count,
    "seconds": duration,
    "bytes": size,
}
IN_PERCENT = {"percent", "gain"}
ARROWS = {"highest": "\u00a0↑", "lowest": "\u00a0↓", None: ""}  # keeps a unit on the line of its number
INFINITE = float("inf")
DECIMALS = 4  # with more orders of magnitude, numbers of one column are printed in different forms


def tabulate(comparison: Comparison) -> Table:
    """Fill the table."""
    columns = [
        _fill(column, [row.cells[index] for row in comparison.rows]) for index, column in enumerate(comparison.columns)
    ]
    return Table(
        titles=tuple(_title(column) for column in comparison.columns),
        rows=tuple((row, tuple(cells[index] for cells in columns)) for index, row in enumerate(comparison.rows)),
        groups=tuple(column.group for column in comparison.columns),
    )


def _title(column: ComparisonColumn) -> str:
    unit = " (%)" if column.kind in IN_PERCENT and "%" not in column.title else ""
    return f"{column.title}{unit}{ARROWS[column.best]}"


def _fill(column: ComparisonColumn, measures: list[Measure]) -> list[Cell]:
    numbers = [each.mean if each.mean is not None and abs(each.mean) < INFINITE else None for each in measures]
    known = {number for number in numbers if number is not None}
    show = _evenly(known) if column.kind == "number" else SHOW[column.kind]
    top = None
    if column.best is not None and len(known) > 1:
        top = max(known) if column.best == "highest" else min(known)
    # Compared as printed: cells with the same text are equally good.
    tops = [number is not None and top is not None and show(number) == show(top) for number in numbers]
    wide = max((each.std or 0.0 for each, best in zip(measures, tops, strict=True) if best), default=0.0)
    return [
        Cell(
            text=show(number),
            small=_remark(measure, column.kind, show),
            best=best,
            level=top is not None and not best and abs(number - top) <= max(wide, measure.std or 0.0),
        )
        if number is not None
        else Cell(measure.text or "–")
        if measure.mean is None
        else Cell("not finite", failed=True)
        for measure, number, best in zip(measures, numbers, tops, strict=True)
    ]


def _evenly(numbers: Iterable[float]) -> Callable[[float], str]:
    """Four digits, with as many decimals for all numbers of the column as the one with the most needs."""
    texts = [SHOW["number"](number) for number in numbers]
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    if decimals > DECIMALS or any("e" in text for text in texts):
        return SHOW["number"]
    return lambda value: f"{value:.{decimals}f}"


def _remark(measure: Measure, kind: str, show: Callable[[float], str]) -> str:
    if measure.std is None or measure.mean is None:
        return "" if measure.n is None else f"n={measure.n}"
    if kind == "number":
        return f"± {alike(measure.std, show(measure.mean))}"
    return f"± {show(measure.std).removeprefix('+')}"

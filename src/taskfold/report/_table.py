"""The table of all methods: the text of each cell, and the best cells of each column."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ._format import count, duration, percent, share, size
from ._summary import Row, Stat, rows
from .schema import Results, Run

LINE = 28
"""The most characters of a cell without line breaks."""


@dataclass(frozen=True)
class Cell:
    """``text`` with a ``small`` remark; ``failed`` if all runs failed.

    ``level``: not the best of its column, but within one standard deviation of it.
    """

    text: str
    small: str = ""
    best: bool = False
    level: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Column:
    """A column: its title, the compared number (best by ``choose``), the printed text and remark.

    Without a number, the cell has "failed" if all of ``runs`` failed.
    """

    title: str
    number: Callable[[Row], float | None]
    text: Callable[[float], str]
    remark: Callable[[Row], str] = lambda row: ""
    runs: Callable[[Row], tuple[Run, ...]] = lambda row: ()
    choose: Callable[[Iterable[float]], float] = min
    comparable: Callable[[Row], bool] = lambda row: True


class Labelled(Protocol):
    """The subject of a table's row."""

    @property
    def label(self) -> str: ...


@dataclass(frozen=True)
class Table:
    """Titles, and for every row its subject and its cells; ``groups`` of columns, if there are any."""

    titles: tuple[str, ...]
    rows: tuple[tuple[Labelled, tuple[Cell, ...]], ...]
    groups: tuple[str, ...] = ()

    @property
    def headings(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group, with their number; none without groups."""
        if not any(self.groups):
            return []
        return [(group, len(list(members))) for group, members in itertools.groupby(self.groups)]

    @property
    def starts(self) -> list[bool]:
        """Whether a column is the first of its group."""
        return [any(self.groups) and at > 0 and self.groups[at - 1] != group for at, group in enumerate(self.groups)]

    @property
    def words(self) -> list[bool]:
        """Whether a column holds words: some text is too long for one line."""
        return [any(len(cells[at].text) > LINE for _, cells in self.rows) for at in range(len(self.titles))]

    @property
    def has_level(self) -> bool:
        """Whether a cell is as good as the best."""
        return any(cell.level for _, cells in self.rows for cell in cells)


def task_columns(results: Results) -> tuple[Column, ...]:
    """One column per task."""
    return tuple(_task_column(task.name) for task in results.tasks)


def mean_column(results: Results) -> Column:
    """The mean over the tasks; rows that lack tasks are shown, but not compared."""
    total = len(results.tasks)

    def remark(row: Row) -> str:
        measured = len(row.tasks())
        return _spread(row.mean()) if measured == total else f"{measured} of {total} tasks"

    return Column(
        title="mean",
        number=lambda row: _mean(row.mean()),
        text=percent,
        remark=remark,
        runs=lambda row: row.runs,
        choose=max,
        comparable=lambda row: len(row.tasks()) == total,
    )


def cost_columns(results: Results) -> tuple[Column, ...]:
    """The costs of a task, with bits if some task has any."""
    bits = (Column("bits", lambda row: row.cost(lambda run: run.bits), count),)
    return (
        Column("params", lambda row: row.adapter, count),
        Column("of backbone", lambda row: row.share, share),
        *(bits if any(run.bits for run in results.runs) else ()),
        Column("head", lambda row: row.cost(lambda run: run.head), count),
        Column("bytes", lambda row: row.cost(lambda run: run.bytes), size),
        Column("time", lambda row: row.cost(lambda run: run.seconds), duration),
    )


def build(results: Results, columns: Iterable[Column]) -> Table:
    """Fill the table."""
    table, chosen = rows(results), tuple(columns)
    filled = [_fill(column, table) for column in chosen]
    return Table(
        titles=tuple(column.title for column in chosen),
        rows=tuple((row, tuple(cells[index] for cells in filled)) for index, row in enumerate(table)),
    )


def _task_column(task: str) -> Column:
    def remark(row: Row) -> str:
        failed = sum(run.failed is not None for run in row.on(task))
        return ", ".join(
            part
            for part in (_spread(row.accuracy(task)), f"{failed} of {len(row.on(task))} failed" if failed else "")
            if part
        )

    return Column(task, lambda row: _mean(row.accuracy(task)), percent, remark, lambda row: row.on(task), max)


def _fill(column: Column, table: tuple[Row, ...]) -> list[Cell]:
    numbers = [column.number(row) for row in table]
    # Compared as printed: cells with the same text are equally good.
    shown = [None if number is None else column.text(number) for number in numbers]
    compared = {
        number for row, number in zip(table, numbers, strict=True) if number is not None and column.comparable(row)
    }
    best = column.text(column.choose(compared)) if len(compared) > 1 else None
    cells = []
    for row, text in zip(table, shown, strict=True):
        runs = column.runs(row)
        if text is not None:
            cells.append(Cell(text, column.remark(row), best=text == best and column.comparable(row)))
        elif runs and all(run.failed is not None for run in runs):
            cells.append(Cell("failed", failed=True))
        else:
            cells.append(Cell("–"))
    return cells


def _mean(stat: Stat | None) -> float | None:
    return None if stat is None else stat.mean


def _spread(stat: Stat | None) -> str:
    if stat is None:
        return ""
    return f"n={stat.n}" if stat.std is None else f"± {percent(stat.std)}"

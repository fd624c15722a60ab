"""The table of results for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ._format import percent, shorten
from ._source import read_results
from ._summary import Row
from ._table import Cell, Column, build, cost_columns, mean_column, task_columns
from .schema import Results

WIDE = 6  # more tasks than this get one column for the weakest instead of one each


def summary_table(results: Results | Mapping[str, Any] | Path) -> Table:
    """Test accuracy in percent per method and task, and what a task costs; a star marks the best.

    Args:
        results: a results document: the mapping itself, or the path of its JSON file.

    Raises:
        FileNotFoundError: the results file does not exist.
        ResultsError: the document does not fit the schema; the message names file and key.
    """
    document = read_results(results)
    many = len(document.tasks) > WIDE
    accuracies = (_weakest_column(),) if many else task_columns(document)
    mean = (mean_column(document),) if len(document.tasks) > 1 else ()
    costs = (column for column in cost_columns() if column.title != "head")
    grid = build(document, (*accuracies, *mean, *costs))
    table = Table(
        title=Text(document.title, style="bold"),
        caption=Text("Test accuracy in %; * best of its column. Params (besides the head), bytes, time: per task."),
        box=box.SIMPLE,
        pad_edge=False,
    )
    table.add_column("method", no_wrap=True)
    for title in grid.titles:
        table.add_column(Text(shorten(title, 16)), justify="right", overflow="fold")
    for row, cells in grid.rows:
        table.add_row(Text(shorten(row.label, 28)), *(_text(cell) for cell in cells))
    return table


def _weakest_column() -> Column:
    def weakest(row: Row) -> tuple[float, str] | None:
        stats = ((row.accuracy(task), task) for task in row.tasks())
        return min(((stat.mean, task) for stat, task in stats if stat is not None), default=None)

    def number(row: Row) -> float | None:
        found = weakest(row)
        return None if found is None else found[0]

    def remark(row: Row) -> str:
        found = weakest(row)
        return "" if found is None else shorten(found[1], 16)

    return Column("weakest task", number, percent, remark, lambda row: row.runs, max)


def _text(cell: Cell) -> Text:
    text = Text(cell.text, style="red" if cell.failed else "bold" if cell.best else "")
    text.append("*" if cell.best else "")
    if cell.small:
        text.append(f"\n{cell.small}", style="dim not bold")
    return text

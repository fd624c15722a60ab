"""The table of results for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ._by_task import STATUS, TaskRow, by_task, sentence
from ._format import percent, share, shorten
from ._source import read_results
from ._summary import Row
from ._table import Column, build, cost_columns, mean_column, task_columns
from ._terminal_comparison import ComparisonTable, cell_text, cell_width
from .additions import chapters
from .schema import Results

WIDE = 6  # more tasks than this get one column for the weakest instead of one each


def summary_table(results: Results | Mapping[str, Any] | Path) -> Group:
    """Test accuracy in percent per method and task, and the costs of a task; then packages' tables, and comparisons.

    A star marks the best of a column.

    The result is for `rich`: comparisons show as many columns as fit into the terminal, and name the others.

    Args:
        results: a results document: the mapping itself, or the path of its JSON file.

    Raises:
        FileNotFoundError: the results file does not exist.
        ResultsError: the document does not fit the schema; the message names file and key.
    """
    document = read_results(results)
    tables = [*(chapter.table for chapter in chapters(document)), *document.comparisons]
    comparisons = [ComparisonTable(each) for each in tables]
    if alone := by_task(document):
        return Group(_task_table(document, alone), Text(sentence(alone)), *comparisons)
    if document.runs or not comparisons:
        return Group(_runs_table(document), *comparisons)
    return Group(Text(document.title, style="bold"), *comparisons)


def _runs_table(document: Results) -> Table:
    many = len(document.tasks) > WIDE
    accuracies = (_weakest_column(),) if many else task_columns(document)
    mean = (mean_column(document),) if len(document.tasks) > 1 else ()
    costs = (_narrow(column) for column in cost_columns(document) if column.title not in {"head", "of backbone"})
    grid = build(document, (*accuracies, *mean, *costs))
    table = Table(
        title=Text(document.title, style="bold"),
        caption=Text(
            "Accuracy on test data in %; * best of its column. Per task: params\n"
            "besides the head and their share of the backbone, bytes, time."
        ),
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("method", no_wrap=True)
    for index, title in enumerate(grid.titles):
        # In a narrow terminal titles are folded, numbers never.
        widest = max((cell_width(cells[index]) for _, cells in grid.rows), default=4)
        table.add_column(Text(shorten(title, 16)), justify="right", overflow="fold", min_width=widest)
    for row, cells in grid.rows:
        table.add_row(Text(shorten(row.label, 28)), *(cell_text(cell) for cell in cells))
    return table


def _task_table(document: Results, rows: Sequence[TaskRow]) -> Table:
    table = Table(
        title=Text(document.title, style="bold"),
        caption=Text("Accuracy on test data in %, 95 % interval; what the largest class alone has; lowest recall."),
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("task", no_wrap=True)
    for title in ("samples", "classes", "accuracy", "largest", "worst class"):
        table.add_column(title, justify="right")
    table.add_column("status")
    for row in rows:
        baseline = "–" if row.baseline is None else percent(row.baseline)
        worst = f"{percent(row.worst[1])} {shorten(row.worst[0], 14)}" if row.worst else "–"
        style = {"no better": "red", "failed": "red", "undecided": "yellow"}.get(row.status, "")
        count, classes = "–" if row.count is None else f"{row.count:,}", str(len(row.task.labels) or "–")
        cells = (shorten(row.task.name, 28), count, classes, row.score, baseline, worst)
        table.add_row(*map(Text, cells), Text(STATUS[row.status], style=style))
    return table


def _narrow(column: Column) -> Column:
    """The share of the backbone below the number of parameters, time in seconds: this fits into 80 characters."""
    if column.title == "params":
        return replace(column, remark=lambda row: "" if row.share is None else share(row.share))
    return replace(column, text=lambda seconds: f"{seconds:,.0f} s") if column.title == "time" else column


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

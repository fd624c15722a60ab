"""A comparison for the terminal: as many columns as fit."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ._comparison import tabulate
from ._format import shorten
from ._table import Cell
from .schema import Comparison

LABEL = 28
WORD = 16
UNBOUNDED = 1_000_000
LISTED = 6  # names of columns left out


def cell_text(cell: Cell) -> Text:
    """A cell in two lines, with a star where it is the best of its column."""
    text = Text(cell.text, style="red" if cell.failed else "bold" if cell.best else "")
    text.append("*" if cell.best else "")
    if cell.small:
        text.append(f"\n{cell.small}", style="dim not bold")
    return text


def cell_width(cell: Cell) -> int:
    """Characters of its longer line."""
    return max(line.cell_len for line in cell_text(cell).split("\n", allow_blank=True))


@dataclass(frozen=True)
class ComparisonTable:
    """Printed as wide as the terminal allows: the mean and then first columns first; a line names those left out."""

    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the columns when the width is known."""
        titles = tabulate(self.comparison).titles
        ranked = sorted(range(len(titles)), key=lambda index: not titles[index].startswith("mean"))  # else as they are
        tables = (self._table(sorted(ranked[:number])) for number in range(len(titles), 1, -1))
        unbounded = options.update(max_width=UNBOUNDED)
        fitting = (each for each in tables if console.measure(each, options=unbounded).minimum <= options.max_width)
        yield next(fitting, None) or self._table(ranked[:1])

    def _table(self, shown: list[int]) -> Table:
        filled = tabulate(self.comparison)
        hidden = [title for index, title in enumerate(filled.titles) if index not in shown]
        table = Table(
            title=Text(self.comparison.title, style="bold"),
            caption=Text(self._caption(hidden)),
            box=box.SIMPLE,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        table.add_column(Text(self.comparison.first), no_wrap=True)
        for index in shown:
            # Titles are broken between words, numbers never.
            word = max(map(len, filled.titles[index].split()))
            widest = max(cell_width(cells[index]) for _, cells in filled.rows)
            table.add_column(Text(filled.titles[index]), justify="right", min_width=max(min(word, WORD), widest))
        for row, cells in filled.rows:
            table.add_row(Text(shorten(row.label, LABEL)), *(cell_text(cells[index]) for index in shown))
        return table

    def _caption(self, hidden: list[str]) -> str:
        star = any(column.best for column in self.comparison.columns)
        parts = [self.comparison.note, "* best of its column." if star else ""]
        if hidden:
            listed = ", ".join(hidden[:LISTED]) + (", …" if len(hidden) > LISTED else "")
            parts.append(f"{len(hidden)} more column{'s' * (len(hidden) > 1)} in the report: {listed}.")
        return " ".join(part for part in parts if part)

"""A comparison for the terminal: as many columns as fit."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
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
    """The text of a cell in two lines, with a star for the best of its column and ≈ for one as good."""
    text = Text(cell.text, style="red" if cell.failed else "bold" if cell.best else "")
    text.append("*" if cell.best else "≈" if cell.level else "")
    if cell.small:
        text.append(f"\n{cell.small}", style="dim not bold")
    return text


def cell_width(cell: Cell) -> int:
    """The characters of its longer line."""
    return max(line.cell_len for line in cell_text(cell).split("\n", allow_blank=True))


@dataclass(frozen=True)
class ComparisonTable:
    """A table as wide as the terminal allows, with main columns and means first; a line names the omitted columns."""

    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Choose the columns once the width is known."""
        columns = self.comparison.columns
        first = [column.main or column.title.startswith("mean") for column in columns]
        ranked = sorted(range(len(columns)), key=lambda index: not first[index])  # else in their order
        unbounded = options.update(max_width=UNBOUNDED)
        for number in range(len(columns), 0, -1):
            shown = sorted(ranked[:number])
            spare = options.max_width - console.measure(self._table(shown, 0), options=unbounded).minimum
            if spare >= 0 or number == 1:
                yield self._table(shown, max(spare, 0))
                return

    def _table(self, shown: list[int], spare: int) -> Table:
        """``spare``: characters by which columns may be wider than needed, for titles in one line."""
        filled = tabulate(self.comparison)
        hidden = [column.name for index, column in enumerate(self.comparison.columns) if index not in shown]
        labels = [shorten(row.label, LABEL) for row, _ in filled.rows]
        first = self.comparison.first
        table = Table(
            title=Text(self.comparison.title, style="bold"),
            caption=Text(self._caption(hidden, level=filled.has_level)),
            box=box.SIMPLE,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        # Widths are fixed, since rich would widen columns beyond the terminal and cut them off.
        table.add_column(Text(first), no_wrap=True, width=max(map(cell_len, [*labels, shorten(first, LABEL)])))
        for index in shown:
            # Titles are broken between words, numbers never.
            title = f"{filled.groups[index]} {filled.titles[index]}".strip()
            word = max(map(cell_len, title.split()))
            width = max(min(word, WORD), *(cell_width(cells[index]) for _, cells in filled.rows))
            if 0 < (more := cell_len(title) - width) <= spare:
                width, spare = width + more, spare - more
            table.add_column(Text(title), justify="right", width=width)
        for label, (_, cells) in zip(labels, filled.rows, strict=True):
            table.add_row(Text(label), *(cell_text(cells[index]) for index in shown))
        return table

    def _caption(self, hidden: list[str], *, level: bool) -> str:
        star = any(column.best for column in self.comparison.columns)
        near = "; ≈ within one standard deviation of it" if level else ""
        parts = [self.comparison.note, f"* best of its column{near}." if star else ""]
        if hidden:
            listed = ", ".join(hidden[:LISTED]) + (", …" if len(hidden) > LISTED else "")
            parts.append(f"{len(hidden)} more column{'s' * (len(hidden) > 1)} in the report: {listed}.")
        return " ".join(part for part in parts if part)

"""The first sentence of a report without single runs."""

from __future__ import annotations

from collections.abc import Sequence

from ._comparison import IN_PERCENT, tabulate
from ._table import Cell
from .additions import chapters
from .schema import Comparison, Results


def overview(results: Results) -> str:
    """The first added chapter's headline, or the first comparison's winner, else a list of the contents."""
    for chapter in chapters(results):
        return chapter.headline
    for comparison in results.comparisons:
        if found := _winner(comparison):
            return found
    tasks = f"{len(results.tasks)} task{'s' * (len(results.tasks) != 1)}"
    seen = [
        f"{number} {what}{'s' * (number != 1)}"
        for number, what in (
            (len(results.comparisons), "comparison"),
            (len(results.studies), "study" if len(results.studies) == 1 else "studie"),
            (len(results.routing), "routed method"),
            (sum(len(scenes.images) for scenes in results.scenes), "image"),
        )
        if number
    ]
    return f"{_listed(seen)} on {tasks}." if seen else "There are no runs to report yet."


def _winner(comparison: Comparison) -> str | None:
    """The best row in most columns: of the main ones, else of those in percent, else of all."""
    filled = tabulate(comparison)
    rated = [index for index, column in enumerate(comparison.columns) if column.best]
    rated = (
        [index for index in rated if comparison.columns[index].main]
        or [index for index in rated if comparison.columns[index].kind == "percent"]
        or rated
    )
    wins = {row.label: [index for index in rated if cells[index].best] for row, cells in filled.rows}
    most = max(map(len, wins.values()))
    if not most:
        return None
    leads = [label for label, won in wins.items() if len(won) == most]
    of = f"of {len(wins)}"
    if len(leads) > 1:
        each = f"in {most} column{'s' * (most != 1)} each" if len(rated) > 1 else "alike"
        return f"{comparison.title}: {_listed(leads)} are the best {of}, {each}."
    won = wins[leads[0]]
    means = (index for index in won if comparison.columns[index].title.startswith("mean"))
    shown = next(means, won[0])
    cell = next(cells[shown] for row, cells in filled.rows if row.label == leads[0])
    where = "" if len(rated) == 1 else f" in {'all' if most == len(rated) else f'{most} of'} {len(rated)} columns"
    near = [index for index in won if any(cells[index].level for _, cells in filled.rows)]
    if near:
        where += ", within one standard deviation of others"
        where += f" in {len(near)} of them" if len(rated) > 1 else ""
    reached = f"{comparison.columns[shown].name}: {_value(cell, comparison, shown)}"
    return f"{comparison.title}: {leads[0]} is the best {of}{where}; {reached}."


def _value(cell: Cell, comparison: Comparison, index: int) -> str:
    unit = "\u00a0%" if comparison.columns[index].kind in IN_PERCENT else ""
    return f"{cell.text}{unit}" + (f" ({cell.small})" if cell.small else "")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

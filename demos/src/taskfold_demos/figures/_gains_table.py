"""Gains as a table: for the terminal, and for readers who do not see the figure."""

from __future__ import annotations

from collections.abc import Sequence

from taskfold.report.drawing import Stat
from taskfold.report.schema import Comparison, ComparisonColumn, ComparisonRow, Measure

from ._gains import GainRow, Gains

DELTA = "Δm"


def as_comparison(gains: Gains) -> Comparison:
    """Δm and the gain in each task; a method without any result says "failed", one with some counts its failures."""
    failures = any(row.failures for row in gains.rows)
    columns = [ComparisonColumn(title=DELTA, kind="gain", best="highest", main=True)]
    columns += [ComparisonColumn(title=task, kind="gain", best="highest") for task in gains.tasks]
    if failures:
        columns.append(ComparisonColumn(title="failed"))
    rows = [
        ComparisonRow(label=row.label, cells=(*_measures(row, gains.tasks), *((_failed(row),) if failures else ())))
        for row in gains.rows
    ]
    note = f"Gain over {gains.single} in % of that score; {DELTA} is the mean over the tasks."
    return Comparison(title=gains.title, note=f"{gains.note} {note}".strip(), columns=tuple(columns), rows=tuple(rows))


def stat(row: GainRow, task: str | None = None) -> Stat | None:
    """Mean and spread over the seeds of Δm, or of the gain in one task."""
    values = row.values(task)
    return Stat.of(values) if values else None


def _measures(row: GainRow, tasks: Sequence[str]) -> list[Measure]:
    found = [stat(row, task) for task in (None, *tasks)]
    nothing = Measure(text="failed" if len(row.failures) == len(row.runs) else None)
    return [nothing if each is None else Measure(mean=each.mean, std=each.std, n=each.n) for each in found]


def _failed(row: GainRow) -> Measure:
    return Measure(text=f"{len(row.failures)} of {len(row.runs)}" if row.failures else None)

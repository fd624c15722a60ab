"""The first sentence of the report, computed from the results."""

from __future__ import annotations

from ._format import percent, share
from ._overview import overview
from ._style import family
from ._summary import Row, Stat, best, rows
from .schema import Results

REFERENCES = ("fine-tuning", "head-only")
LEVEL = 0.0005  # below this the printed accuracies agree


def headline(results: Results) -> str:
    """The document's conclusion; else the best FTN (or best method) compared with the references, whichever wins."""
    if results.conclusion:
        return results.conclusion.replace(" %", "\u00a0%")
    table = rows(results)
    total, failed = len(results.runs), sum(run.failed is not None for run in results.runs)
    if not total:
        return overview(results)
    lead, opening = _lead(table)
    if lead is None:
        return f"{'The only run' if total == 1 else f'All {total} runs'} failed: there is no accuracy to report."
    found = (best(row for row in table if row.method == method) for method in REFERENCES)
    others = [row for row in found if row is not None and row is not lead]
    others = [row for row in others if row.tasks() & lead.tasks()]
    shared = frozenset.intersection(lead.tasks(), *(row.tasks() for row in others))
    if not shared:  # only pairs overlap: the sentence has the lead alone
        others, shared = [], lead.tasks()
    own = lead.mean(shared)
    assert own is not None
    sentence = f"{opening} {percent(own.mean)} % test accuracy{_scope(shared, results)}{_spread(own)}"
    sentence += "".join(
        f"{',' if index == 0 else ' and'} {_comparison(own, row, shared)}" for index, row in enumerate(others)
    )
    if lead.share:
        sentence += f"; it adds {share(lead.share)} of the backbone's parameters per task, besides the head"
    if failed:
        sentence += f". {failed} of {total} runs failed"
    return sentence.replace(" %", "\u00a0%") + "."


def _lead(table: tuple[Row, ...]) -> tuple[Row | None, str]:
    ftns = [row for row in table if family(row.method) == "ftn" and row.tasks()]
    lead = best(ftns) or best(table)
    if lead is None:
        return None, ""
    if not ftns:
        measured = sum(bool(row.tasks()) for row in table)
        among = f" (the best of {measured} methods)" if measured > 1 else ""
        return lead, f"{lead.label}{among} reaches"
    among = f" (the best of {len(ftns)} FTN settings)" if len(ftns) > 1 else ""
    return lead, f"{lead.label}{among} reaches"


def _scope(tasks: frozenset[str], results: Results) -> str:
    if len(tasks) == 1:
        return f" on {next(iter(tasks))}"
    if len(tasks) == len(results.tasks):
        return f", the mean of {len(tasks)} tasks"
    return f", the mean of {len(tasks)} of the {len(results.tasks)} tasks"


def _spread(stat: Stat) -> str:
    return " (one seed)" if stat.std is None else f" (± {percent(stat.std)} over {stat.n} seeds)"


def _comparison(own: Stat, row: Row, tasks: frozenset[str]) -> str:
    other = row.mean(tasks)
    assert other is not None
    gap = own.mean - other.mean
    side = "above" if gap > 0 else "below"
    words = "level with" if abs(gap) < LEVEL else f"{percent(abs(gap))} points {side}"
    spread = max((stat.std for stat in (own, other) if stat.std is not None), default=None)
    within = ", within one standard deviation" if spread is not None and LEVEL <= abs(gap) <= spread else ""
    return f"{words} {row.label} ({percent(other.mean)} %{within})"

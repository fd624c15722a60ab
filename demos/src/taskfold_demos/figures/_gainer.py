"""The first sentence of a report of gains over single-task networks."""

from __future__ import annotations

from taskfold.report.drawing import Stat, signed

from ._gains import Gains
from ._gains_table import DELTA, stat


def gainer(gains: Gains) -> str:
    """Who gains most, by how much, and who is next; what failed is said."""
    rivals = [row for row in gains.rows if row.label != gains.single]
    ranked = [(found, row.label) for row in rivals if (found := stat(row)) is not None]
    ranked.sort(key=lambda each: -each[0].mean)
    total, failed = sum(len(row.runs) for row in gains.rows), sum(len(row.failures) for row in gains.rows)
    if not ranked:
        return f"{gains.title}: {f'all {total} runs failed' if failed == total else f'no {DELTA} was measured'}."
    (lead, label), *others = ranked
    among = f" of {len(ranked)} methods," if others else ","
    opening = f"{label} gains most{among}" if lead.mean > 0 else f"no method gains; {label} loses least{among}"
    seeds = f" over {lead.n} seeds" if lead.std is not None else ""
    sentence = f"{gains.title}: {opening} {DELTA} {_value(lead, seeds)}"
    if others:
        second, name = others[0]
        near = max(lead.std or 0.0, second.std or 0.0)
        level = ", within one standard deviation" if 0 < lead.mean - second.mean <= near else ""
        sentence += f"; next is {name}, {_value(second)}{level}"
    if failed:
        sentence += f". {failed} of {total} runs failed"
    return sentence.replace(" %", "\u00a0%") + "."


def _value(found: Stat, seeds: str = "") -> str:
    spread = "one seed" if found.std is None else f"± {found.std:.1f}{seeds}"
    return f"{signed(found.mean)} % ({spread})"

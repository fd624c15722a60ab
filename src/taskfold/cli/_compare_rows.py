"""The compared methods side by side, and the recommended one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._compare_costs import ROWS, WAYS, Costs
from ._compare_search import EDGE

BITS = 32
"""Bits of a stored number."""


@dataclass
class Row:
    """The results of a method.

    Attributes:
        label: its label.
        name: the method's name.
        runs: the result of each seed.
        reason: why there are no runs.
        settings: the method's settings.
        numbers: the numbers that a task adds besides its head, with equal parts of shared ones.
        bits: the bits of masks and indices that a task adds.
        factor: the found learning rates as a multiple of the method's own; None: they were not searched.
        seconds: the training time of all trials and runs.
        remarks: on the search and the runs.
        costs: the costs of running a task.
    """

    label: str
    name: str
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    reason: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    numbers: int = 0
    bits: int = 0
    factor: float | None = None
    seconds: float = 0.0
    remarks: list[str] = field(default_factory=list)
    costs: Costs = field(default_factory=lambda: Costs({}, {}))

    @property
    def scores(self) -> list[float]:
        """Validation scores by seed; higher is better."""
        return [run["score"] for run in self.runs.values() if "score" in run]

    @property
    def size(self) -> int:
        """The bits that a task adds, without its head."""
        return BITS * self.numbers + self.bits


@dataclass(frozen=True)
class Advice:
    """The recommended method.

    Attributes:
        row: the smallest method within one standard error of the best; None: none trained.
        best: the best method on validation data.
        error: one standard error of the best mean; None: there is one seed.
    """

    row: Row | None
    best: Row | None = None
    error: float | None = None


def advised(rows: Sequence[Row]) -> Advice:
    """The smallest method within one standard error of the best, by validation scores alone.

    Methods with a failed run are left out; of equally small ones the better is chosen.
    """
    whole = _ranked(rows)
    if not whole:
        return Advice(None)
    best = max(whole, key=lambda row: (statistics.fmean(row.scores), -row.size))
    count = len(best.scores)
    error = statistics.stdev(best.scores) / math.sqrt(count) if count > 1 else None
    least = statistics.fmean(best.scores) - (error or 0.0)
    near = [row for row in whole if statistics.fmean(row.scores) >= least]
    return Advice(min(near, key=lambda row: (row.size, -statistics.fmean(row.scores))), best, error)


def _ranked(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.scores and len(row.scores) == len(row.runs)]


def in_words(advice: Advice, rows: Sequence[Row], *, accuracy: bool) -> str:
    """The advice in words, for report and terminal."""
    if advice.row is None or advice.best is None:
        return f"None of the {len(rows)} methods trained: there is nothing to recommend."
    row, best = advice.row, advice.best
    seeds = len(best.scores)
    said = f"Take {row.label}: "
    if advice.error is None:
        said += (
            f"the best of {len(_ranked(rows))} methods on validation data ({_score(row, accuracy)}); with one seed no "
        )
        said += "standard error is known, so a smaller method may be as good"
    elif row is best:
        said += f"no smaller method comes within one standard error of it on validation data ({_score(row, accuracy)} "
        said += f"± {_number(advice.error, accuracy)} over {seeds} seeds)"
    else:
        said += (
            f"the smallest method within one standard error of the best on validation data ({_score(row, accuracy)}; "
        )
        said += f"{best.label}: {_score(best, accuracy)} ± {_number(advice.error, accuracy)} over {seeds} seeds)"
    bits = f" and {row.bits:,} bits" if row.bits else ""
    said += f"; it adds {row.numbers:,} numbers{bits} per task besides the head."
    ranked = _ranked(rows)
    if small := [other for other in ranked if 10 * other.size <= row.size and other is not row]:
        other = max(small, key=lambda one: (statistics.fmean(one.scores), -one.size))
        said += f" The best of those at most a tenth as large is {other.label} ({_score(other, accuracy)})."
    out = [other.label for other in rows if other not in ranked]
    return said + (f" Not ranked: {', '.join(out)}." if out else "")


def table(rows: Sequence[Row], *, accuracy: bool, tested: bool, together: bool) -> dict[str, Any]:
    """The table of all methods: quality, costs, found rates."""
    kind = {"kind": "percent", "best": "highest"} if accuracy else {"kind": "number", "best": "lowest"}
    score = "validation" if accuracy else "validation loss"
    columns: list[dict[str, Any]] = [{"title": score, **kind, "main": True}]
    if tested:
        columns.append({"title": "test", "kind": "percent", "main": True})
    columns[-1]["axis"] = "score"
    unfolded, folded = ({"title": way, "kind": "count", "group": "multiply-adds"} for way in WAYS[:2])
    columns += [
        {"title": "numbers", "kind": "count", "main": True},
        {"title": "bits", "kind": "count"},
        {"title": "size", "kind": "bytes", "best": "lowest", "axis": "cost"},
        {**unfolded, "axis": "cost"},
        folded,
        {"title": "training", "kind": "seconds", "best": "lowest", "axis": "cost"},
        *({"title": way, "group": "ms per input", "axis": "cost"} for way in WAYS),
        {"title": "rates", "main": True},
    ]
    note = (
        "Validation chose learning rates and sizes, and is what the recommendation goes by; test data chose nothing. "
        "Numbers and bits (of masks and indices) are per task, besides the head; size is both, 32 bits for a number. "
        "Multiply-adds of one input; its time "
        f"in a batch of {ROWS}, mixed: rows of all tasks. "
        f"Training: {'all tasks together, in equal parts' if together else 'one task'}. Rates: times the method's own; "
        "at the edge: nothing beyond was tried, so more trials or a wider compare.lr may find better ones."
    )
    return {
        "title": "Methods side by side",
        "note": note,
        "columns": columns,
        "rows": [{"label": row.label, "cells": _cells(row, accuracy, tested)} for row in rows],
    }


def _cells(row: Row, accuracy: bool, tested: bool) -> list[Any]:
    sign = 1 if accuracy else -1
    runs = [run for run in row.runs.values() if "score" in run]
    cells: list[Any] = [_spread([sign * one for one in row.scores]) if runs else "failed" if row.runs else "–"]
    if tested:
        cells.append(_spread([mean_of(run) for run in runs]))
    known = bool(runs)
    cells += [row.numbers if known else None, row.bits if known else None, row.size / 8 if known else None]
    cells += [row.costs.multiply_adds.get(way) for way in WAYS[:2]]
    cells.append(_spread([run["seconds"] for run in runs]))
    cells += [row.costs.milliseconds.get(way) for way in WAYS]
    edge = ", at the edge" if any(EDGE in remark for remark in row.remarks) else ""
    cells.append(f"×{row.factor:.2g}{edge}" if row.factor is not None else None)
    return cells


def notes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Remarks on single methods; empty: there are none."""
    said = {row.label: "; ".join([*([row.reason] if row.reason else []), *row.remarks]) for row in rows}
    cells = [{"label": label, "cells": [text]} for label, text in said.items() if text]
    return [{"title": "Notes on methods", "columns": ["note"], "rows": cells}] if cells else []


def mean_of(run: Mapping[str, Any]) -> float:
    """The mean test accuracy of a run over tasks."""
    return statistics.fmean(task["tested"]["accuracy"] for task in run["tasks"].values())


def _spread(values: Sequence[float]) -> Any:
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": std, "n": len(values)}


def _score(row: Row, accuracy: bool) -> str:
    return _number(statistics.fmean(row.scores), accuracy) if accuracy else f"loss {-statistics.fmean(row.scores):.4g}"


def _number(value: float, accuracy: bool) -> str:
    return f"{100 * value:.1f} %" if accuracy else f"{value:.2g}"

"""Records of affinities between tasks, for the report and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ._format import MINUS

if TYPE_CHECKING:
    from ..train import Affinity, Gains

FEW = 8
"""The most tasks whose matrix is a table; for more, a table has the strongest pairs."""
PAIRS = 8
"""The number of pairs that help most, and of pairs that hurt most."""


def affinity_record(found: Affinity, label: str, groups: Sequence[Sequence[str]] | None = None) -> dict[str, Any]:
    """Affinities as JSON for the key ``affinity`` of a results document.

    Args:
        found: the measured affinities.
        label: the method's label.
        groups: the groups of the training; None: the proposed ones.
    """
    chosen = [*map(list, groups or found.groups())]
    measures = {name: gains for name in ("linear", "lookahead", "cosine") if (gains := getattr(found, name))}
    order = [found.tasks.index(name) for group in chosen for name in group]
    return {
        "label": label,
        "tasks": [found.tasks[n] for n in order],
        "steps": found.steps,
        "measurements": found.measurements,
        "groups": chosen,
        "matrices": [
            {"measure": name, "mean": _ordered(gains.mean, order), "half": _ordered(gains.half, order)}
            for name, gains in measures.items()
        ],
    }


def affinity_tables(found: Affinity, groups: Sequence[Sequence[str]] | None = None) -> list[dict[str, Any]]:
    """Tables for the key ``comparisons``: which task helps which, and the predicted gains of groupings."""
    chosen = [*map(list, groups or found.groups())]
    return [_matrix(found) if len(found.tasks) <= FEW else _strongest(found), _groupings(found, chosen)]


def gain_text(mean: float, half: float) -> str:
    """A gain in percent of the loss, with its interval.

    >>> gain_text(0.0123, 0.0005), gain_text(-0.0001, 0.0005)
    ('+1.23 ±0.05', '−0.01 ±0.05')
    """
    return f"{'+' if mean >= 0 else MINUS}{abs(100 * mean):.2f} ±{100 * half:.2f}"


def _ordered(matrix: Sequence[Sequence[float]], order: Sequence[int]) -> list[list[float]]:
    return [[matrix[i][j] for j in order] for i in order]


def _title(found: Affinity) -> str:
    return "Who helps whom" if found.by != "cosine" else "Whose gradients agree"


def _note(found: Affinity) -> str:
    what = {
        "linear": "Loss of the task on top that one step for the task on the left takes away, to first order, in %",
        "lookahead": "Loss of the task on top that one step for the task on the left takes away, as seen, in %",
        "cosine": "Cosine of the two tasks' gradients, × 100",
    }[found.by]
    return f"{what}; below 0 it hurts. After ± two standard errors over {found.measurements} measurements."


def _matrix(found: Affinity) -> dict[str, Any]:
    gains: Gains = found.gains()
    rows = [
        {
            "label": name,
            "cells": ["" if i == j else gain_text(gains.mean[i][j], gains.half[i][j]) for j in range(len(found.tasks))],
        }
        for i, name in enumerate(found.tasks)
    ]
    return {
        "title": _title(found),
        "note": _note(found),
        "first": "a step for",
        "columns": list(found.tasks),
        "rows": rows,
    }


def _strongest(found: Affinity) -> dict[str, Any]:
    gains, number = found.gains(), {name: n for n, name in enumerate(found.tasks)}
    kinds = {"help": found.helpers()[:PAIRS], "hurt": found.conflicts()[:PAIRS]}
    rows = [
        {"label": f"{one} and {other}", "cells": [kind, gain_text(*gains.pair(number[one], number[other]))]}
        for kind, pairs in kinds.items()
        for one, other in pairs
    ]
    none = {"label": "no pair", "cells": ["", "every interval holds 0"]}
    return {
        "title": _title(found),
        "note": f"{_note(found)} Both directions added up; pairs whose interval does not hold 0.",
        "first": "tasks",
        "columns": ["they", "both ways"],
        "rows": rows or [none],
    }


def _groupings(found: Affinity, chosen: list[list[str]]) -> dict[str, Any]:
    measures: list[Literal["linear", "lookahead"]] = ["linear", "lookahead"] if found.lookahead else ["linear"]
    ways = {
        "these groups": chosen,
        "all together": [[*found.tasks]],
        "each by itself": [[name] for name in found.tasks],
    }
    rows = [
        {"label": label, "cells": [len(groups), *(100 * found.predicted(groups, name) for name in measures)]}
        for label, groups in ways.items()
    ]
    said = " · ".join(", ".join(group) for group in chosen)
    return {
        "title": "Who trains with whom",
        "note": f"Groups: {said}. Predicted: what the tasks of a group gain from one another in a step for each, in % "
        "of their losses, added up.",
        "first": "grouping",
        "columns": ["groups", *(f"predicted, {name}" for name in measures)],
        "rows": rows,
    }

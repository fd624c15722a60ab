"""Results of tasks that classify images or texts."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluate import Metrics

TITLES = {"macro_f1": "macro F1", "majority": "largest class alone"}
"""Titles of scores that differ from their names."""


def scores_of(found: Metrics) -> dict[str, float]:
    return {"balanced_accuracy": found.balanced_accuracy, "macro_f1": found.macro_f1, "majority": found.majority}


def columns_of(found: Metrics) -> dict[str, str]:
    """The scores as columns of a table, with the interval of accuracy."""
    return {
        "95 % interval": "{:.1%} to {:.1%}".format(*found.interval),
        "balanced": f"{found.balanced_accuracy:.2%}",
        "macro F1": f"{found.macro_f1:.2%}",
        "largest class": f"{found.majority:.2%}",
    }


def doubt_of(found: Metrics, labels: Sequence[str], unit: str) -> str:
    """What a task's score does not prove: the largest class alone reaches it, or may, or a class was not measured."""
    always = f"always answering {labels[found.largest]!r}, which has {found.majority:.1%}"
    doubts = []
    if found.verdict == "no better":
        scores = f"accuracy {found.accuracy:.1%} and balanced accuracy {found.balanced_accuracy:.1%}"
        doubts = [f"{scores} are no better than {always}"]
    elif found.verdict == "undecided":
        low, high = found.interval
        doubts = [
            f"{found.count:,} {unit} are too few to tell accuracy {found.accuracy:.1%} (95 % interval {low:.1%} to "
            f"{high:.1%}) from {always}"
        ]
    if missing := [label for label, recall in zip(labels, found.recall, strict=True) if recall is None]:
        more = f" and {len(missing) - 5:,} more" * (len(missing) > 5)
        named = ", ".join(map(repr, missing[:5])) + more
        doubts.append(f"the scores say nothing about classes without {unit}: {named}")
    return "; ".join(doubts)

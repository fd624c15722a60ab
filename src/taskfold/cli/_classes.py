"""What is said of a task that tells classes apart, of images or of texts."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluate import Metrics

TITLES = {"macro_f1": "macro F1", "majority": "largest class alone"}
"""What scores are called, where that is not their name."""


def scores_of(found: Metrics) -> dict[str, float]:
    """The scores beside accuracy."""
    return {"balanced_accuracy": found.balanced_accuracy, "macro_f1": found.macro_f1, "majority": found.majority}


def columns_of(found: Metrics) -> dict[str, str]:
    """The same for a table, with the interval of accuracy."""
    return {
        "95 % interval": "{:.1%} to {:.1%}".format(*found.interval),
        "balanced": f"{found.balanced_accuracy:.2%}",
        "macro F1": f"{found.macro_f1:.2%}",
        "largest class": f"{found.majority:.2%}",
    }


def doubt_of(found: Metrics, labels: Sequence[str], unit: str) -> str:
    """Why a score says nothing for a task: the largest class alone has as much, or may have."""
    always = f"always answering {labels[found.largest]!r}, which has {found.majority:.1%}"
    if found.verdict == "no better":
        scores = f"accuracy {found.accuracy:.1%} and balanced accuracy {found.balanced_accuracy:.1%}"
        return f"{scores} are no better than {always}"
    if found.verdict == "undecided":
        low, high = found.interval
        return (
            f"{found.count:,} {unit} are too few to tell accuracy {found.accuracy:.1%} (95 % interval {low:.1%} to "
            f"{high:.1%}) from {always}"
        )
    return ""

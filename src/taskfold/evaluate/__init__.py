"""Scores of a task on data, and its predictions."""

from ._run import check_data, evaluate, evaluating, outputs_of, predict, score, where
from ._scores import class_scores, uneven, verdict, wilson
from ._tally import Loss, Metrics, Tally

__all__ = [
    "Loss",
    "Metrics",
    "Tally",
    "check_data",
    "class_scores",
    "evaluate",
    "evaluating",
    "outputs_of",
    "predict",
    "score",
    "uneven",
    "verdict",
    "where",
    "wilson",
]

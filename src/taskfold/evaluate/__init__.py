"""Measuring a task on data, and what it says about inputs."""

from ._run import check_data, check_targets, evaluate, evaluating, predict, where
from ._tally import Loss, Metrics, Tally

__all__ = [
    "Loss",
    "Metrics",
    "Tally",
    "check_data",
    "check_targets",
    "evaluate",
    "evaluating",
    "predict",
    "where",
]

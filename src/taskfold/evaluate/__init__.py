"""Measuring a task on data, and what it says about inputs."""

from ._run import evaluate, predict
from ._tally import Loss, Metrics, Tally

__all__ = ["Loss", "Metrics", "Tally", "evaluate", "predict"]

"""Taskfold folds many tasks into one frozen network."""

from ._view import TaskView
from .counting import count
from .methods import (
    FTN,
    MHR,
    FineTuning,
    FTNOutput,
    FTNQueryValue,
    HeadNorm,
    HeadOnly,
    LoRA,
    Method,
    Poly,
    TensorPolyI,
    TensorPolyII,
    TLoRA,
)
from .model import MultiTask, checkpoint_context
from .tasks import Task, TaskFileError, fingerprint

__version__ = "0.1.0"

__all__ = [
    "FTN",
    "MHR",
    "FTNOutput",
    "FTNQueryValue",
    "FineTuning",
    "HeadNorm",
    "HeadOnly",
    "LoRA",
    "Method",
    "MultiTask",
    "Poly",
    "TLoRA",
    "Task",
    "TaskFileError",
    "TaskView",
    "TensorPolyI",
    "TensorPolyII",
    "checkpoint_context",
    "count",
    "fingerprint",
]

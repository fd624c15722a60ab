"""Taskfold folds many tasks into one frozen network."""

from .counting import count
from .methods import (
    FTN,
    MHR,
    ExpandNet,
    FineTuning,
    FTNOutput,
    FTNQueryValue,
    HardSharing,
    HeadNorm,
    HeadOnly,
    LoRA,
    Method,
    OverParameterised,
    Poly,
    RepVGG,
    TensorPolyI,
    TensorPolyII,
    TLoRA,
)
from .model import Bank, MultiTask, TaskView, checkpoint_context
from .tasks import Task, TaskFileError, fingerprint

__version__ = "0.1.0"

__all__ = [
    "FTN",
    "MHR",
    "Bank",
    "ExpandNet",
    "FTNOutput",
    "FTNQueryValue",
    "FineTuning",
    "HardSharing",
    "HeadNorm",
    "HeadOnly",
    "LoRA",
    "Method",
    "MultiTask",
    "OverParameterised",
    "Poly",
    "RepVGG",
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

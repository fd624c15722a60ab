"""Taskfold folds many tasks into one frozen network."""

from ._view import TaskView
from .counting import count
from .methods import FTN, FineTuning, FTNOutput, FTNQueryValue, HeadNorm, HeadOnly, LoRA, Method
from .model import MultiTask, checkpoint_context
from .tasks import Task, TaskFileError, fingerprint

__version__ = "0.1.0"

__all__ = [
    "FTN",
    "FTNOutput",
    "FTNQueryValue",
    "FineTuning",
    "HeadNorm",
    "HeadOnly",
    "LoRA",
    "Method",
    "MultiTask",
    "Task",
    "TaskFileError",
    "TaskView",
    "checkpoint_context",
    "count",
    "fingerprint",
]

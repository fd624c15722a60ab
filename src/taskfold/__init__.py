"""Taskfold folds many tasks into one frozen network."""

from typing import TYPE_CHECKING

from . import methods as _methods
from .counting import count as count
from .methods import *
from .model import AdaptationWarning as AdaptationWarning
from .model import Bank as Bank
from .model import MultiTask as MultiTask
from .model import TaskView as TaskView
from .model import checkpoint_context as checkpoint_context
from .operations import MultiplyAdds as MultiplyAdds
from .operations import multiply_adds as multiply_adds
from .tasks import Task as Task
from .tasks import TaskFileError as TaskFileError
from .tasks import fingerprint as fingerprint

__version__ = "0.1.0"

if not TYPE_CHECKING:  # as in `methods`, whose names are all here too
    __all__ = [
        "AdaptationWarning",
        "Bank",
        "MultiTask",
        "MultiplyAdds",
        "Task",
        "TaskFileError",
        "TaskView",
        "checkpoint_context",
        "count",
        "fingerprint",
        "multiply_adds",
    ]
    __all__ += _methods.__all__

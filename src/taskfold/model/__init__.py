"""A frozen backbone and its tasks: how they come and go, run, fold, and are served."""

from ._bank import Bank
from ._multi_task import MultiTask, checkpoint_context
from ._view import TaskView

__all__ = ["Bank", "MultiTask", "TaskView", "checkpoint_context"]

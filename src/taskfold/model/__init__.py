"""A frozen backbone and its tasks: how they come and go, run, fold, and are served."""

from ._again import checkpoint_context
from ._apart import check_apart
from ._bank import Bank
from ._folding import changed_tensors, folded
from ._multi_task import MultiTask
from ._outputs import Outputs, names_of_any
from ._runner import SERVING
from ._saving import read_inventory
from ._transfer import begun
from ._view import TaskView

__all__ = [
    "SERVING",
    "Bank",
    "MultiTask",
    "Outputs",
    "TaskView",
    "begun",
    "changed_tensors",
    "check_apart",
    "checkpoint_context",
    "folded",
    "names_of_any",
    "read_inventory",
]

"""Models: a frozen backbone and its tasks, which are added, removed, run, folded and served."""

from ._advice import AdaptationWarning
from ._again import checkpoint_context
from ._apart import check_apart
from ._bank import Bank
from ._counts import count_task, counts_apart, leave_out
from ._features import Features, FeaturesError, keeping
from ._folding import changed_tensors, folded, left_out
from ._inventory_file import read_inventory
from ._multi_task import MultiTask
from ._outputs import Outputs, names_of_any
from ._saving import file_bytes
from ._store import Store
from ._summary import Summary, SummaryRow
from ._transfer import begun
from ._view import TaskView

__all__ = [
    "AdaptationWarning",
    "Bank",
    "Features",
    "FeaturesError",
    "MultiTask",
    "Outputs",
    "Store",
    "Summary",
    "SummaryRow",
    "TaskView",
    "begun",
    "changed_tensors",
    "check_apart",
    "checkpoint_context",
    "count_task",
    "counts_apart",
    "file_bytes",
    "folded",
    "keeping",
    "leave_out",
    "left_out",
    "names_of_any",
    "read_inventory",
]

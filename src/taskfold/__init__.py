"""Taskfold folds many tasks into one frozen network."""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .counting import count as count
    from .files import TaskFileError as TaskFileError
    from .methods import *
    from .model import AdaptationWarning as AdaptationWarning
    from .model import Bank as Bank
    from .model import MultiTask as MultiTask
    from .model import TaskView as TaskView
    from .model import checkpoint_context as checkpoint_context
    from .operations import MultiplyAdds as MultiplyAdds
    from .operations import multiply_adds as multiply_adds
    from .tasks import Task as Task
    from .tasks import fingerprint as fingerprint
    from .tasks import quantised as quantised

__version__ = "0.1.0"

_ROOMS = {
    "AdaptationWarning": "model",
    "Bank": "model",
    "MultiTask": "model",
    "MultiplyAdds": "operations",
    "Task": "tasks",
    "TaskFileError": "files",
    "TaskView": "model",
    "checkpoint_context": "model",
    "count": "counting",
    "fingerprint": "tasks",
    "multiply_adds": "operations",
    "quantised": "tasks",
}
"""The modules of public names; all others are methods."""


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: the command line shows its help without torch."""
    if name == "__all__":
        return [*_ROOMS, *_import_module(".methods", __name__).__all__]
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _find_spec(f"{__name__}.{name}") is not None:
        return _import_module(f".{name}", __name__)
    room = _import_module(f".{_ROOMS.get(name, 'methods')}", __name__)
    if name not in _ROOMS and name not in room.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(room, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})

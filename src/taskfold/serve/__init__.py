"""Serves many tasks: a batcher, versions of tasks by name, and an HTTP application."""

from ._batcher import Batcher, Counts
from ._engine import Engine, Group, Stacked
from ._errors import (
    BusyError,
    ClosedError,
    DiskError,
    FailedError,
    InputError,
    LateError,
    ServeError,
    TakenError,
    TooLargeError,
    UnknownTaskError,
    UnservableError,
)
from ._limits import Limits
from ._reading import Asked, Form, Given, Reading, Ready
from ._server import TaskServer
from ._version import Version

__all__ = [
    "Asked",
    "Batcher",
    "BusyError",
    "ClosedError",
    "Counts",
    "DiskError",
    "Engine",
    "FailedError",
    "Form",
    "Given",
    "Group",
    "InputError",
    "LateError",
    "Limits",
    "Reading",
    "Ready",
    "ServeError",
    "Stacked",
    "TakenError",
    "TaskServer",
    "TooLargeError",
    "UnknownTaskError",
    "UnservableError",
    "Version",
]

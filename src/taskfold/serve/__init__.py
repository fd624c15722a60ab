"""Many tasks behind one door: a batcher, the versions that stand for names, and an HTTP application."""

from ._batcher import Batcher, Counts
from ._engine import Engine, Group, Stacked
from ._errors import (
    BusyError,
    ClosedError,
    InputError,
    LateError,
    ServeError,
    TakenError,
    TooLargeError,
    UnfitError,
    UnknownTaskError,
)
from ._limits import Limits
from ._reading import Reading, Ready
from ._server import TaskServer, Version
from ._shelf import Folder, Shelf

__all__ = [
    "Batcher",
    "BusyError",
    "ClosedError",
    "Counts",
    "Engine",
    "Folder",
    "Group",
    "InputError",
    "LateError",
    "Limits",
    "Reading",
    "Ready",
    "ServeError",
    "Shelf",
    "Stacked",
    "TakenError",
    "TaskServer",
    "TooLargeError",
    "UnfitError",
    "UnknownTaskError",
    "Version",
]

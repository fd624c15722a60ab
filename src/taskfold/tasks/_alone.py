"""One change of a store at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..files import alone_in


class _InFolder(Protocol):
    folder: Path


S = TypeVar("S", bound=_InFolder)
P = ParamSpec("P")
T = TypeVar("T")


def alone(change: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Makes a change wait for those that other processes and threads make in the same folder."""

    @wraps(change)
    def waits(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        with alone_in(self.folder):
            return change(self, *args, **kwargs)

    return waits

"""Faults injected into a call, one place after another."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

import taskfold.model

MODEL = str(Path(taskfold.model.__file__).parent)


class OutOfMemory(TorchDispatchMode):
    """Torch's operators, of which the one with that number, counted from 0, finds no memory.

    Attributes:
        struck: whether there was such an operator.
    """

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.struck = at, False

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.at == 0:
            self.struck = True
            raise MemoryError(f"no memory for {func}")
        self.at -= 1
        return func(*args, **(kwargs or {}))


class Interrupt:
    """Lines of `taskfold.model` in this thread, before one of which, counted from 0, Ctrl-C is pressed.

    Lines that begin with `with` are left out: Python's tracing stops there once more before a lock is given back,
    where Python itself never handles a signal.

    Attributes:
        struck: whether there was such a line.
    """

    def __init__(self, at: int) -> None:
        self.at, self.struck = at, False

    def _line(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(MODEL):
            return None
        if event == "line" and not _line_of(frame).startswith("with "):
            if self.at == 0 and not self.struck:
                self.struck = True
                raise KeyboardInterrupt
            self.at -= 1
        return self._line

    def __enter__(self) -> Interrupt:
        self.before = sys.gettrace()
        sys.settrace(self._line)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)


def _line_of(frame: FrameType) -> str:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()


FAULTS = {"out of memory": (OutOfMemory, MemoryError), "Ctrl-C": (Interrupt, KeyboardInterrupt)}

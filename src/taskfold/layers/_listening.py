"""Blocks that hear the operations of a pass; those within one another share one mode of torch's, which costs once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

Go = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]


class Listener:
    """A block that hears operations of torch's, below autograd, in this thread. The innermost hears each first."""

    _mode: _Mode

    def __enter__(self) -> Self:
        top = _get_current_dispatch_mode()
        self._mode = top if isinstance(top, _Mode) else _Mode()
        if self._mode is not top:
            self._mode.__enter__()
        self._mode.listeners.append(self)
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        self._mode.listeners.remove(self)
        if not self._mode.listeners:
            self._mode.__exit__(kind, *error)

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        """An operation.

        Args:
            func, args, kwargs: the operation, and what it is given.
            go: lets those outside hear it, and runs it.

        Returns:
            What it puts out in this block.
        """
        raise NotImplementedError


class _Mode(TorchDispatchMode):
    """What those who listen have in common."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Listener] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self._heard(len(self.listeners), func, args, kwargs or {})

    def _heard(self, within: int, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not within:
            return func(*args, **kwargs)
        return self.listeners[within - 1].hear(func, args, kwargs, partial(self._heard, within - 1))

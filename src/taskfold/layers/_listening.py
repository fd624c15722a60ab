"""Listeners: blocks that hear the operations of a pass; nested ones share one dispatch mode, to save time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from ..refusals import UnfitError

Go = Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any]


class Listener:
    """A block that hears torch's operations below autograd in this thread; inner listeners hear them first."""

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
        """Hears an operation, and returns its output in this block.

        Args:
            func, args, kwargs: the operation and its arguments.
            go: passes it to the outer listeners, and runs it.
        """
        raise NotImplementedError


def _run(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return func(*args, **kwargs)


class _Mode(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Listener] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if isinstance(func, HigherOrderOperator):
            return self._branched(func, args)
        if len(self.listeners) == 1:
            return self.listeners[0].hear(func, args, kwargs or {}, _run)
        return self._heard(len(self.listeners), func, args, kwargs or {})

    def _branched(self, func: HigherOrderOperator, args: tuple[Any, ...]) -> Any:
        """Runs `torch.cond` as Python's `if`; other operators that take functions run them where nobody hears.

        Raises:
            TypeError: the operator is another.
        """
        if func.name() != "cond":
            raise UnfitError(
                f"the network calls torch's higher-order operator {func.name()!r} outside of a compiler, where it is "
                "not known what it does with rows; compute that in another way (attn_implementation='sdpa', a loop)"
            )
        where, true, false, operands = args
        with self:
            return (true if where else false)(*operands)

    def _heard(self, within: int, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not within:
            return func(*args, **kwargs)
        return self.listeners[within - 1].hear(func, args, kwargs, partial(self._heard, within - 1))

"""Data-dependent control flow: the numbers that a pass reads, and passes without randomness."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from ._listening import Go, Listener

_ONES = frozenset(("bernoulli", "bernoulli_"))
_HALVES = frozenset(("rand", "rand_like", "uniform", "uniform_", "random", "random_", "rrelu_with_noise"))
_AGREED = frozenset(("all", "any", "max", "min", "amax", "amin"))
_ZEROS = frozenset(("randn", "randn_like", "normal", "normal_", "normal_functional"))


def is_answer(value: object) -> bool:
    """Whether an operation returned a number to Python: `bool(x.any())`, `x.item()`, `torch.equal(x, y)`."""
    return isinstance(value, (bool, int, float))


@contextmanager
def as_traced() -> Iterator[None]:
    """Run a block in which `is_compiling()` holds in this thread: Hugging Face's networks then read no numbers."""
    asked, thread = torch.compiler.is_compiling, threading.get_ident()
    torch.compiler.is_compiling = lambda: threading.get_ident() == thread or asked()
    try:
        yield
    finally:
        torch.compiler.is_compiling = asked


def by_row(func: Any, args: tuple[Any, ...], rows: int) -> torch.Tensor | None:
    """What an operation (`all`, a maximum) gives each row by itself, `[B]`; None: it has no such answers."""
    if func.overloadpacket.__name__ not in _AGREED or len(args) != 1 or not args[0].dim() or len(args[0]) != rows:
        return None
    return torch.stack([func(one) for one in args[0].unbind()])


def agrees(each: torch.Tensor | None) -> bool:
    """Whether an operation gives each row by itself what it gives all of them."""
    return each is not None and bool((each == each[:1]).all())


class OtherPathError(Exception):
    """A pass read another number than the pass that located the rows; `taken`: the numbers so far."""

    def __init__(self, taken: Sequence[Any]) -> None:
        super().__init__("takes another path than when its rows were looked for")
        self.taken = tuple(taken)


class OnPath(Listener):
    """Checks that a pass reads the numbers `decisions`; `each`: indices of those that each row must give by itself.

    Raises:
        OtherPathError: it reads another number, or fewer, or a row would by itself.
    """

    def __init__(self, decisions: Sequence[Any], each: Collection[int] = (), rows: int = 0) -> None:
        self.decisions, self.each, self.rows, self.taken = tuple(decisions), each, rows, []
        self._agreed: list[Any] = []
        """The last number that each row has given by itself."""

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        output = go(func, args, kwargs)
        if self.each and agrees(by_row(func, args, self.rows)):
            self._agreed = [output]
        if is_answer(output):
            if len(self.taken) in self.each and not any(one is args[0] for one in self._agreed):
                raise OtherPathError((*self.taken, None))
            self.taken.append(output)
            if self.decisions[: len(self.taken)] != tuple(self.taken):
                raise OtherPathError(self.taken)
        return output

    def __exit__(self, kind: Any, *error: Any) -> None:
        super().__exit__(kind, *error)
        if kind is None and len(self.taken) < len(self.decisions):
            raise OtherPathError(self.taken)


class Unmoved(Listener):
    """Removes dropout and noise from a pass, so that rows differ by their inputs alone."""

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        name = func.overloadpacket.__name__
        if name == "native_dropout":
            return go(torch.ops.aten.clone.default, args[:1], {}), torch.ones_like(args[0], dtype=torch.bool)
        if (place := _chance(func)) is not None:
            args = (*args[:place], 0.0, *args[place + 1 :]) if place < len(args) else args
            kwargs = {**kwargs, "dropout_p": 0.0} if place >= len(args) else kwargs
        output = go(func, args, kwargs)
        for chances, number in ((_ONES, 1.0), (_HALVES, 0.5), (_ZEROS, 0.0)):
            if name in chances and isinstance(output, torch.Tensor):
                return output.fill_(number)
        return output


@lru_cache(maxsize=4096)
def _chance(func: Any) -> int | None:
    """The position of an operation's argument `dropout_p`; None: it has none."""
    return next((n for n, one in enumerate(func._schema.arguments) if one.name == "dropout_p"), None)

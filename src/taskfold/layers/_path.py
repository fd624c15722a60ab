"""Data-dependent control flow: the numbers that a pass reads, and passes without randomness."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ._listening import Go, Listener

_ONES = frozenset(("bernoulli", "bernoulli_"))
_HALVES = frozenset(("rand", "rand_like", "uniform", "uniform_", "random_", "rrelu_with_noise", "exponential_"))
_AGREED = frozenset(("all", "any", "max", "min", "amax", "amin"))
_ZEROS = frozenset(("randn", "randn_like", "normal", "normal_", "normal_functional"))


def is_answer(value: object) -> bool:
    """Whether an operation returned a number to Python: `bool(x.any())`, `x.item()`, `torch.equal(x, y)`."""
    return isinstance(value, (bool, int, float))


_SIZED = frozenset(("nms", "unique_dim_consecutive"))
"""Operations whose outputs have as many entries as numbers decide, and that do not say so by torch's tag."""


_INDEXED = frozenset(("index", "_unsafe_index"))
"""Operations whose outputs are so if an index is a mask."""


@lru_cache(maxsize=4096)
def _may_size(func: Any) -> bool:
    """Whether numbers can decide the size of what an operation returns."""
    return func.overloadpacket.__name__ in _SIZED | _INDEXED or torch.Tag.dynamic_output_shape in func.tags


def size_of(func: Any, args: tuple[Any, ...], output: object) -> tuple[int, ...] | None:
    """The size of what an operation returned, if numbers of its inputs decide it: Python may choose a path by it."""
    if not _may_size(func):
        return None
    indices = args[1] if func.overloadpacket.__name__ in _INDEXED else ()
    if indices and not any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in indices):
        return None
    first = output[0] if isinstance(output, tuple) else output
    return tuple(first.shape) if isinstance(first, Tensor) else None


def number_of(func: Any, args: tuple[Any, ...], output: object) -> Any:
    """The number that an operation returned to Python, or the size that numbers decided; None: neither."""
    return output if is_answer(output) else size_of(func, args, output)


@contextmanager
def as_traced() -> Iterator[None]:
    """Run a block in which `is_compiling()` holds in this thread: Hugging Face's networks then read no numbers."""
    asked, thread = torch.compiler.is_compiling, threading.get_ident()
    torch.compiler.is_compiling = lambda: threading.get_ident() == thread or asked()
    try:
        yield
    finally:
        torch.compiler.is_compiling = asked


class ByRow:
    """The answers that each row by itself gives to questions over all rows: `all`, `any`, extremes, `sum() == numel()`.

    Args:
        rows: number of rows of the batch.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._answers: dict[int, tuple[object, bool | None, Tensor]] = {}
        """By the answer's id: the answer, which is kept so that the id stays its own; its sure value; each row's."""
        self._counts: dict[int, tuple[object, int, Tensor]] = {}
        """By the id of a count of true entries: the count, the number of entries, which rows have true ones alone."""

    def note(self, func: Any, args: tuple[Any, ...], output: object) -> None:
        """Notes an operation of the pass."""
        self._answers.pop(id(output), None)  # changed in place
        name, of = func.overloadpacket.__name__, args[0] if args else None
        if name == "eq" and id(of) in self._counts and isinstance(args[1], int) and self._counts[id(of)][1] == args[1]:
            self._answers[id(output)] = output, True, self._counts[id(of)][2]
        if len(args) != 1 or not isinstance(of, Tensor) or not of.dim() or len(of) != self.rows:
            return
        if name == "sum" and of.dtype == torch.bool:
            self._counts[id(output)] = output, of.numel(), of.flatten(1).all(1) if of.dim() > 1 else of.clone()
        if name in _AGREED:
            each = torch.stack([func(one) for one in of.unbind()])
            self._answers[id(output)] = output, {"all": True, "any": False}.get(name), each

    def sure(self, tensor: object) -> bool | None:
        """The answer that any part of the rows gives too (True of `all`, False of `any`); None: there is none such."""
        return self._answers[id(tensor)][1] if id(tensor) in self._answers else None

    def otherwise(self, tensor: Tensor) -> Tensor | None:
        """For each row whether it gives another answer than this one, `[B]`; None: that is not known."""
        return self._answers[id(tensor)][2] != tensor if id(tensor) in self._answers else None


class OtherPathError(Exception):
    """A pass read another number than the pass that located the rows; `taken`: the numbers so far."""

    def __init__(self, taken: Sequence[Any]) -> None:
        super().__init__("takes another path than when its rows were looked for")
        self.taken = tuple(taken)


class OnPath(Listener):
    """Checks that a pass takes one of the known paths.

    Args:
        paths: of each the numbers that a pass reads there, and the indices of those that each row must give by itself.
        rows: number of rows of the batch.

    Raises:
        OtherPathError: it reads other numbers, or fewer, or a row would by itself.
    """

    def __init__(self, paths: Sequence[tuple[Sequence[Any], Collection[int]]], rows: int) -> None:
        self.paths, self.taken = [*paths], []
        self._rows = ByRow(rows) if any(each for _, each in paths) else None

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        output = go(func, args, kwargs)
        if self._rows is not None:
            self._rows.note(func, args, output)
        if (number := number_of(func, args, output)) is not None:
            n = len(self.taken)
            if self._rows is not None and is_answer(output) and any(n in each for _, each in self.paths):
                otherwise = self._rows.otherwise(args[0])
                if otherwise is None or otherwise.any():
                    self._go_on(lambda _, each: n not in each, None)
            self._go_on(lambda decisions, _: decisions[n : n + 1] == (number,), number)
            self.taken.append(number)
        return output

    def _go_on(self, follows: Callable[[Sequence[Any], Collection[int]], bool], number: Any) -> None:
        """Leaves the paths that the pass does not take; `number`: the one that decides it."""
        self.paths = [path for path in self.paths if follows(*path)]
        if not self.paths:
            raise OtherPathError((*self.taken, number))

    def __exit__(self, kind: Any, *error: Any) -> None:
        super().__exit__(kind, *error)
        if kind is None and all(len(self.taken) < len(decisions) for decisions, _ in self.paths):
            raise OtherPathError(self.taken)


class Unmoved(Listener):
    """Removes dropout and noise from a pass, so that rows differ by their inputs alone.

    `numbers` stand for random ones: coins, 0 to 1, normal; fewer leave the later ones, None leaves dropout, too.
    `drew` says whether the pass has drawn random numbers, beside a dropout that was removed.
    """

    def __init__(self, numbers: tuple[float, ...] | None = (1.0, 0.5, 0.0)) -> None:
        self.numbers, self.drew, self._coins = numbers, False, None

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        name = func.overloadpacket.__name__
        if self.numbers is not None:
            if name == "native_dropout":
                return go(torch.ops.aten.clone.default, args[:1], {}), torch.ones_like(args[0], dtype=torch.bool)
            if (place := _chance(func)) is not None:
                args = (*args[:place], 0.0, *args[place + 1 :]) if place < len(args) else args
                kwargs = {**kwargs, "dropout_p": 0.0} if place >= len(args) else kwargs
                return go(func, args, kwargs)
        masks = self.numbers is not None and name == "div_" and args[0] is self._coins  # a dropout in two steps
        self.drew = self.drew or (self._coins is not None and not masks)
        self.drew = self.drew or (torch.Tag.nondeterministic_seeded in func.tags and name != "bernoulli_")
        output = go(func, args, kwargs)
        self._coins = output if name == "bernoulli_" else None
        for chances, number in zip((_ONES, _HALVES, _ZEROS), self.numbers or (), strict=False):
            if name in chances and isinstance(output, torch.Tensor):
                return output.fill_(number)
        return output


@lru_cache(maxsize=4096)
def _chance(func: Any) -> int | None:
    """The position of an operation's argument `dropout_p`; None: it has none."""
    return next((n for n, one in enumerate(func._schema.arguments) if one.name == "dropout_p"), None)

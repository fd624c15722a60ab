"""Where the rows of a batch lie in a tensor inside a network: found by what moved when rows of the batch moved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from math import isqrt
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Numbers = TypeVar("Numbers", Tensor, np.ndarray)

AXES = 2
"""How many first axes rows are looked for on."""
MOST = 1e4
"""What larger numbers count as: masks hold the largest there are."""
SHORT = 4096
"""Up to which length the numbers of a mark are kept."""
TOLERANCES = {torch.float16: 0.03, torch.bfloat16: 0.2}
"""Of a mark, in parts of its size; other floating-point types have `TOLERANCE`."""
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Layout:
    """Where the rows of a batch lie in a tensor.

    Attributes:
        axis: of the rows; None: the tensor serves all rows.
        each: entries of that axis for each row.
        copies: whole batches lie one after another (`each` × rows), and not the entries of one row (rows × `each`).
    """

    axis: int | None = 0
    each: int = 1
    copies: bool = False

    def positions(self, rows: Tensor, batch: int, each: int) -> Tensor:
        """Where on the axis these rows of a batch lie, if each has so many entries."""
        return _places(rows, torch.arange(each, device=rows.device), batch, self.copies)

    def take(self, tensor: Tensor, rows: Tensor, batch: int) -> Tensor:
        """The tensor with these rows alone."""
        if self.axis is None:
            return tensor
        positions = self.positions(rows.to(tensor.device), batch, tensor.shape[self.axis] // batch)
        return tensor.index_select(self.axis, positions)

    def join(self, parts: Sequence[Tensor], rows: Sequence[Tensor], batch: int) -> Tensor:
        """Undoes `take`: the tensor of the batch, from those of disjoint rows that are all of it together."""
        assert self.axis is not None
        each = sum(part.shape[self.axis] for part in parts) // batch
        places = [self.positions(one.to(part.device), batch, each) for part, one in zip(parts, rows, strict=True)]
        return torch.cat([*parts], self.axis).index_select(self.axis, torch.cat(places).argsort())


def _places(rows: Numbers, step: Numbers, batch: int, copies: bool) -> Numbers:
    """Where rows lie whose entries are counted by `step`, in a batch of so many rows."""
    return (step[:, None] * batch + rows if copies else rows[:, None] * len(step) + step).flatten()


FIRST = Layout()
"""Rows are the first axis."""
ALL = Layout(None)
"""The tensor serves all rows."""


@dataclass(frozen=True)
class Entries(Layout):
    """A list that has an entry for each row."""

    def take(self, tensor: Any, rows: Tensor, batch: int) -> Any:
        """The entries of these rows."""
        del batch
        return type(tensor)(tensor[n] for n in rows.tolist())

    def join(self, parts: Sequence[Any], rows: Sequence[Tensor], batch: int) -> Any:
        """Undoes `take`."""
        del batch
        entries = [one for part in parts for one in part]
        return type(parts[0])(entries[n] for n in torch.cat([*rows]).argsort().tolist())


ENTRIES = Entries()


@dataclass(frozen=True)
class Seen:
    """What is known of a layer's tensors.

    Attributes:
        inputs: where rows lie in each tensor that it is given; None: that is not known.
        outputs: the same of those that it puts out.
    """

    inputs: tuple[Layout | None, ...]
    outputs: tuple[Layout | None, ...]

    unknown: str = field(init=False, compare=False)
    """Why rows can't be told apart at the layer, as far as its first input says; empty: they can."""

    def __post_init__(self) -> None:
        why = ""
        if not self.inputs:
            why = "is given no tensor"
        elif (first := self.inputs[0]) is None:
            why = "sees rows of the batch in an order or number that is not fixed, or inside of torch.vmap"
        elif first.axis is None:
            why = "is given a tensor that serves all rows"
        object.__setattr__(self, "unknown", why)


@dataclass(frozen=True)
class Moves:
    """What is done with the rows of a batch.

    Attributes:
        rows: how many there are.
        order: another order of them.
        kept: the rows of each part, in which the others are away: any two rows are once in parts of their own.
        first: how many parts, from the first on, hold each row equally often.
    """

    rows: int
    order: Tensor
    kept: tuple[Tensor, ...]
    first: int

    @classmethod
    def of(cls, rows: int, *, few: bool = True) -> Moves:
        """Backwards (a cyclic order would be kept by what is matched one after another), and in parts.

        Args:
            rows: how many there are.
            few: parts are the rows of a grid, and then its columns; or all rows but one, each. Of three rows they
                are pairs in any case: a network may not run a lone row.
        """
        numbers = torch.arange(rows, device="cpu")
        if rows == 3 or not few:
            return cls(rows, numbers.flip(0), tuple(numbers[numbers != left] for left in range(rows)), rows)
        blocks = numbers.tensor_split(isqrt(rows) if rows > 3 else rows)
        columns = [numbers[[n for n in place if n is not None]] for place in zip_longest(*map(Tensor.tolist, blocks))]
        # A row of another block keeps a lone one company: these two are apart already.
        columns = [one if len(one) > 1 else torch.cat([one, numbers[-1:]]) for one in columns]
        return cls(rows, numbers.flip(0), (*blocks, *(columns if rows > 3 else ())), len(blocks))

    @property
    def parts(self) -> int:
        """How many of the first parts each row is in."""
        return sum(map(len, self.kept[: self.first])) // self.rows


@dataclass(frozen=True)
class Mark:
    """A few numbers for a tensor, by which it is known again.

    Attributes:
        shape: of the tensor.
        tolerance: in parts of the numbers' size.
        whole: `[2]`, of the tensor.
        slices: `[n, 2]` by axis, of each slice of the tensor.
    """

    shape: tuple[int, ...]
    tolerance: float
    whole: np.ndarray
    slices: dict[int, np.ndarray]

    @classmethod
    def of(cls, tensor: Tensor, rows: int, least: float = 0.0) -> Mark:
        """The mark of a tensor; slices along axes that are as long as some rows are.

        Args:
            tensor: any.
            rows: of the batch.
            least: tolerance, of what the tensor was computed of.
        """
        with torch._C._DisableFuncTorch():
            return cls._of(unwrapped(tensor), rows, least)

    @classmethod
    def _of(cls, tensor: Tensor, rows: int, least: float) -> Mark:
        shape, kind = tuple(tensor.shape), tensor.dtype
        number = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        if kind.is_floating_point or kind.is_complex:
            number = number.float().nan_to_num(nan=77.0).clamp_(-MOST, MOST)
            tolerance = max(TOLERANCES.get(kind, TOLERANCE), least)
        else:
            number, tolerance = number.double(), 1e-6
        first = number.shape[:AXES]
        rest = number.shape[len(first) :].numel()
        device = number.device.type
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
            left = (number.reshape(*first, rest) @ directions(rest, number)).numpy(force=True)
        slices = {axis: _along(left, axis) for axis, size in enumerate(first) if size and size % rows == 0}
        return cls(shape, tolerance, _along(left, None), slices)


_FUNC: Any = getattr(torch._C, "_functorch")  # noqa: B009  torch does not say what it has
"""The transforms of `torch.func`."""


def unwrapped(tensor: Tensor) -> Tensor:
    """The numbers behind what transforms of `torch.func` see."""
    while _FUNC.is_functorch_wrapped_tensor(tensor):
        tensor = _FUNC.get_unwrapped(tensor)
    return tensor


def in_vmap(tensor: Tensor) -> bool:
    """Whether `torch.vmap` has taken an axis of a tensor out of sight, which may be that of rows."""
    while _FUNC.is_functorch_wrapped_tensor(tensor):
        if _FUNC.is_batchedtensor(tensor):
            return True
        tensor = _FUNC.get_unwrapped(tensor)
    return False


def _along(left: np.ndarray, axis: int | None) -> np.ndarray:
    """`[…, 2]` → `[n, 2]` along an axis, or `[2]`: the other axes are summed with numbers of their own."""
    if axis is not None:
        left = left.swapaxes(0, axis)
    while left.ndim > (1 if axis is None else 2):
        left = _weights(left.shape[-2], left.dtype) @ left
    return left


@lru_cache(maxsize=512)
def _weights(length: int, kind: np.dtype) -> np.ndarray:
    """`[length]` numbers, the same every time."""
    return np.random.default_rng(0).standard_normal(length).astype(kind) / max(length, 1) ** 0.5


def directions(length: int, like: Tensor) -> Tensor:
    """`[length, 2]` numbers, the same every time."""
    return (_directions if length > SHORT else _kept)(length, like.dtype, like.device)


def _directions(length: int, kind: torch.dtype, device: torch.device) -> Tensor:
    with torch._C._DisableFuncTorch():  # they are kept, and must not be of some transform
        numbers = _numbers(1 << max(length - 1, 1).bit_length())[:length]
        return numbers.to(device, kind) / max(length, 1) ** 0.5


_kept = lru_cache(maxsize=512)(_directions)


@lru_cache(maxsize=32)
def _numbers(length: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((length, 2)))  # whatever becomes of torch's now


def layout(given: Mark, turned: Mark, less: Sequence[tuple[Mark, Tensor]], moves: Moves) -> Layout | None:
    """Where rows lie in a tensor, from its marks as rows are given, in another order, and without some.

    Args:
        given, turned: as they are, and in another order.
        less: without some, each with the rows that are left.
        moves: of the rows.

    Returns:
        None: that is not known.
    """
    parts = [mark for mark, _ in less]
    if all(mark.shape == given.shape for mark in parts):
        alike = turned.shape == given.shape and all(
            _same(given.whole, other.whole, given.tolerance) for other in (turned, *parts)
        )
        return ALL if alike else None
    if turned.shape != given.shape or any(len(mark.shape) != len(given.shape) for mark in parts):
        return None
    changed = {axis for mark in parts for axis, size in enumerate(given.shape) if mark.shape[axis] != size}
    axis = changed.pop()
    size = given.shape[axis]
    if changed or axis not in given.slices:
        return None
    if any(mark.shape[axis] * moves.rows != size * len(kept) for mark, kept in less):
        return None
    each = size // moves.rows
    found = [copies for copies in (False, True) if _moved(given, turned, less, moves, axis, each, copies)]
    if not found or (each > 1 and len(found) == 2):
        return None
    made = Layout(axis, each, found[0])
    return FIRST if made == FIRST else made


def _moved(
    given: Mark, turned: Mark, less: Sequence[tuple[Mark, Tensor]], moves: Moves, axis: int, each: int, copies: bool
) -> bool:
    """Whether slices along an axis moved as rows did."""
    slices, step = given.slices[axis], np.arange(each)
    return all(
        _same(slices[_places(rows.numpy(), step, moves.rows, copies)], mark.slices[axis], given.tolerance)
        for mark, rows in ((turned, moves.order), *less)
    )


def is_blind(mark: Mark, place: Layout | None, rows: int) -> bool:
    """Whether rows are equal in a tensor: where they lie is guessed from its shape, or can't be told.

    Args:
        mark: of the tensor.
        place: where rows were found to lie.
        rows: how many there are.
    """
    if place is not None and (place.axis is None or place.axis not in mark.slices):
        return False
    for axis in mark.slices if place is None else [place.axis]:
        slices = mark.slices[axis]  # type: ignore[index]
        for copies in (False, True) if place is None else (place.copies,):
            entries = slices.reshape(-1, rows, 2).swapaxes(0, 1) if copies else slices.reshape(rows, -1, 2)
            if _same(entries, np.broadcast_to(entries[:1], entries.shape), mark.tolerance):
                return True
    return False


def is_same(one: Mark, other: Mark) -> bool:
    """Whether two tensors are the same."""
    return one.shape == other.shape and _same(one.whole, other.whole, one.tolerance)


def _same(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    if one.shape != other.shape or not one.size:
        return one.shape == other.shape
    return bool((np.abs(one - other) <= tolerance * max(float(np.abs(one).max()), 1e-3)).all())

"""Layouts: where the rows of a batch lie in a tensor inside a network, found by moving rows of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import zip_longest
from math import isqrt
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

Numbers = TypeVar("Numbers", Tensor, np.ndarray)

AXES = 2
"""Number of leading axes that may be the axis of rows."""
MOST = 1e4
"""Larger numbers are clipped to this: masks hold the largest of their type."""
SHORT = 4096
"""The largest length for which a mark's random directions are cached."""
TOLERANCES = {torch.float16: 0.03, torch.bfloat16: 0.2}
"""Relative tolerances of marks; other floating-point types have `TOLERANCE`."""
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Layout:
    """The place of a batch's rows in a tensor.

    Attributes:
        axis: the axis of rows; None: the tensor serves all rows.
        each: entries on that axis per row.
        copies: the axis is `each` × rows (whole batches one after another); False: rows × `each`.
    """

    axis: int | None = 0
    each: int = 1
    copies: bool = False

    def positions(self, rows: Tensor, batch: int, each: int) -> Tensor:
        """The positions of these rows on the axis, for `each` entries per row."""
        return _places(rows, torch.arange(each, device=rows.device), batch, self.copies)

    def take(self, tensor: Tensor, rows: Tensor, batch: int) -> Tensor:
        """The tensor's part for these rows."""
        if self.axis is None:
            return tensor
        positions = self.positions(rows.to(tensor.device), batch, tensor.shape[self.axis] // batch)
        return tensor.index_select(self.axis, positions)

    def join(self, parts: Sequence[Tensor], rows: Sequence[Tensor], batch: int) -> Tensor:
        """Undoes `take`: the tensor of the batch, from parts for disjoint rows that make up the batch."""
        assert self.axis is not None
        each = sum(part.shape[self.axis] for part in parts) // batch
        places = [self.positions(one.to(part.device), batch, each) for part, one in zip(parts, rows, strict=True)]
        return torch.cat([*parts], self.axis).index_select(self.axis, torch.cat(places).argsort())


def _places(rows: Numbers, step: Numbers, batch: int, copies: bool) -> Numbers:
    """The positions of rows in a batch; `step` counts the entries of each row."""
    return (step[:, None] * batch + rows if copies else rows[:, None] * len(step) + step).flatten()


FIRST = Layout()
ALL = Layout(None)
"""The layout of a tensor that serves all rows."""


@dataclass(frozen=True)
class Entries(Layout):
    """The layout of a list with an entry for each row."""

    def take(self, tensor: Any, rows: Tensor, batch: int) -> Any:
        """The entries of these rows."""
        return type(tensor)(tensor[n] for n in rows.tolist())

    def join(self, parts: Sequence[Any], rows: Sequence[Tensor], batch: int) -> Any:
        """Undoes `take`."""
        entries = [one for part in parts for one in part]
        return type(parts[0])(entries[n] for n in torch.cat([*rows]).argsort().tolist())


ENTRIES = Entries()


@dataclass(frozen=True)
class Seen:
    """The layouts of a layer's tensors.

    Attributes:
        inputs: of each input; None: unknown.
        outputs: of each output; None: unknown.
    """

    inputs: tuple[Layout | None, ...]
    outputs: tuple[Layout | None, ...]

    unknown: str = field(init=False, compare=False)
    """Why the first input's rows can't be told apart; empty: they can."""

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
    """The other order and the parts of a batch in passes that locate its rows.

    Attributes:
        rows: number of rows.
        order: another order of the rows.
        kept: the rows of each part; for any two rows, a part holds one without the other.
        first: so many parts at the start hold each row equally often.
    """

    rows: int
    order: Tensor
    kept: tuple[Tensor, ...]
    first: int

    @classmethod
    def of(cls, rows: int, *, few: bool = True) -> Moves:
        """The reversed order (a network that matches neighbours would keep a cyclic one), and parts.

        Args:
            rows: number of rows.
            few: parts are the rows, then the columns of a grid; False, or of three rows: each part leaves one row out,
                since a network may not run a lone row.
        """
        numbers = torch.arange(rows, device="cpu")
        if rows == 3 or not few:
            return cls(rows, numbers.flip(0), tuple(numbers[numbers != left] for left in range(rows)), rows)
        blocks = numbers.tensor_split(isqrt(rows) if rows > 3 else rows)
        columns = [numbers[[n for n in place if n is not None]] for place in zip_longest(*map(Tensor.tolist, blocks))]
        # A lone row gets one of another block beside it: the blocks tell these two apart already.
        columns = [one if len(one) > 1 else torch.cat([one, numbers[-1:]]) for one in columns]
        return cls(rows, numbers.flip(0), (*blocks, *(columns if rows > 3 else ())), len(blocks))

    def with_parts(self, more: Iterable[Tensor]) -> Self:
        """These moves with further parts."""
        new = [rows for rows in more if not any(torch.equal(rows, one) for one in self.kept)]
        return replace(self, kept=(*self.kept, *new))

    @property
    def parts(self) -> int:
        """The number of the first parts that hold each row."""
        return sum(map(len, self.kept[: self.first])) // self.rows


@dataclass(frozen=True)
class Mark:
    """A fingerprint of a tensor by random projections.

    Attributes:
        shape: of the tensor.
        tolerance: relative to the largest number.
        whole: `[2]`, of the whole tensor.
        slices: `[n, 2]` by axis, of each slice along it.
    """

    shape: tuple[int, ...]
    tolerance: float
    whole: np.ndarray
    slices: dict[int, np.ndarray]

    @classmethod
    def of(cls, tensor: Tensor, rows: int, least: float = 0.0) -> Mark:
        """The mark of a tensor, with slices along leading axes whose size is a multiple of `rows`.

        Args:
            tensor: any.
            rows: number of rows of the batch.
            least: the least tolerance, that of the tensor's inputs.

        Raises:
            ValueError: the tensor is nested.
        """
        if tensor.is_nested:
            raise ValueError(
                "the network makes a nested tensor, in which nobody finds the rows of a mixed batch; pad it "
                "(torch.nested.to_padded_tensor), or run one task at a time"
            )
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
    """The tensor behind the wrappers of `torch.func`."""
    while _FUNC.is_functorch_wrapped_tensor(tensor):
        tensor = _FUNC.get_unwrapped(tensor)
    return tensor


def in_vmap(tensor: Tensor) -> bool:
    """Whether `torch.vmap` hides an axis of the tensor, which may be the axis of rows."""
    while _FUNC.is_functorch_wrapped_tensor(tensor):
        if _FUNC.is_batchedtensor(tensor):
            return True
        tensor = _FUNC.get_unwrapped(tensor)
    return False


def _along(left: np.ndarray, axis: int | None) -> np.ndarray:
    """`[…, 2]` → `[n, 2]` along an axis, or `[2]`: the other axes are contracted with fixed random weights."""
    if axis is not None:
        left = left.swapaxes(0, axis)
    while left.ndim > (1 if axis is None else 2):
        left = _weights(left.shape[-2], left.dtype) @ left
    return left


@lru_cache(maxsize=512)
def _weights(length: int, kind: np.dtype) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(length).astype(kind) / max(length, 1) ** 0.5


def directions(length: int, like: Tensor) -> Tensor:
    """Fixed random numbers `[length, 2]`."""
    return (_directions if length > SHORT else _kept)(length, like.dtype, like.device)


def _directions(length: int, kind: torch.dtype, device: torch.device) -> Tensor:
    with torch._C._DisableFuncTorch():  # cached tensors must not be wrapped by a transform
        numbers = _numbers(1 << max(length - 1, 1).bit_length())[:length]
        return numbers.to(device, kind) / max(length, 1) ** 0.5


_kept = lru_cache(maxsize=512)(_directions)


@lru_cache(maxsize=32)
def _numbers(length: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((length, 2)))  # leaves torch's generator alone


def layout(given: Mark, turned: Mark, less: Sequence[tuple[Mark, Tensor]], moves: Moves) -> Layout | None:
    """The layout of a tensor, from its marks in several passes.

    Args:
        given, turned: of the unchanged batch, and of the other order.
        less: of each part, with the part's rows.
        moves: the order and the parts.

    Returns:
        The layout; None: unknown.
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
    """Whether the slices along an axis moved with the rows."""
    slices, step = given.slices[axis], np.arange(each)
    return all(
        _same(slices[_places(rows.numpy(), step, moves.rows, copies)], mark.slices[axis], given.tolerance)
        for mark, rows in ((turned, moves.order), *less)
    )


def is_blind(mark: Mark, place: Layout | None, rows: int) -> bool:
    """Whether a tensor's rows are equal, so that its layout `place` is a guess from its shape, or unknown."""
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
    """Whether two marks agree within the tolerance."""
    return one.shape == other.shape and _same(one.whole, other.whole, one.tolerance)


def _same(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    if one.shape != other.shape or not one.size:
        return one.shape == other.shape
    return bool((np.abs(one - other) <= tolerance * max(float(np.abs(one).max()), 1e-3)).all())

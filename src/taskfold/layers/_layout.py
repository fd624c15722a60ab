"""Where the rows of a batch lie in a tensor inside a network: found by what moved when rows of the batch moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

AXES = 2
"""How many first axes rows are looked for on."""
MOST = 1e4
"""What larger numbers count as: masks hold the largest there are."""
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
        step = torch.arange(each, device=rows.device)
        return (step[:, None] * batch + rows if self.copies else rows[:, None] * each + step).flatten()

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


FIRST = Layout()
"""Rows are the first axis."""
ALL = Layout(None)
"""The tensor serves all rows."""


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
            why = "sees rows of the batch in an order or number that is not fixed"
        elif first.axis is None:
            why = "is given a tensor that serves all rows"
        object.__setattr__(self, "unknown", why)


@dataclass(frozen=True)
class Moves:
    """What is done with the rows of a batch.

    Attributes:
        rows: how many there are.
        order: another order of them.
        kept: those that are left, if some are taken away.
    """

    rows: int
    order: Tensor
    kept: Tensor

    @classmethod
    def of(cls, rows: int) -> Moves:
        """Backwards, and without the first: a cyclic order would be kept by what is matched one after another."""
        return cls(rows, torch.arange(rows).flip(0), torch.arange(1, rows))


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
    whole: Tensor
    slices: dict[int, Tensor]

    @classmethod
    def of(cls, tensor: Tensor, rows: int) -> Mark:
        """The mark of a tensor; slices along axes that are as long as some rows are."""
        shape, kind = tuple(tensor.shape), tensor.dtype
        number = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        if kind.is_floating_point or kind.is_complex:
            number = number.float().nan_to_num(nan=77.0).clamp(-MOST, MOST)
            tolerance = TOLERANCES.get(kind, TOLERANCE)
        else:
            number, tolerance = number.double(), 1e-6
        first = number.shape[:AXES]
        rest = number.shape[len(first) :].numel()
        left = number.reshape(*first, rest) @ directions(rest, number)
        slices = {axis: _along(left, axis) for axis, size in enumerate(first) if size and size % rows == 0}
        return cls(shape, tolerance, _along(left, None), slices)


def _along(left: Tensor, axis: int | None) -> Tensor:
    """`[…, 2]` → `[n, 2]` along an axis, or `[2]`: the other axes are summed with numbers of their own."""
    for other in reversed(range(left.dim() - 1)):
        if other != axis:
            weights = directions(left.shape[other], left)[:, :1]
            left = (left * weights.reshape(-1, *[1] * (left.dim() - 1 - other))).sum(other)
    return left


def directions(length: int, like: Tensor) -> Tensor:
    """`[length, 2]` numbers, the same every time."""
    return _numbers(1 << max(length - 1, 1).bit_length())[:length].to(like) / max(length, 1) ** 0.5


@lru_cache(maxsize=32)
def _numbers(length: int) -> Tensor:
    return torch.randn(length, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def layout(given: Mark, turned: Mark, less: Mark, moves: Moves) -> Layout | None:
    """Where rows lie in a tensor, from its marks as rows are given, in another order, and without some.

    Returns:
        None: that is not known.
    """
    tolerance, rows = given.tolerance, moves.rows
    if given.shape == less.shape:
        alike = turned.shape == given.shape and all(
            _same(given.whole, other.whole, tolerance) for other in (turned, less)
        )
        return ALL if alike else None
    if turned.shape != given.shape or len(less.shape) != len(given.shape):
        return None
    changed = [axis for axis, size in enumerate(given.shape) if less.shape[axis] != size]
    axis, size = changed[0], given.shape[changed[0]]
    if len(changed) > 1 or axis not in given.slices or less.shape[axis] * rows != size * len(moves.kept):
        return None
    each = size // rows
    found = [copies for copies in (False, True) if _moved(given, turned, less, moves, axis, each, copies)]
    if not found or (each > 1 and len(found) == 2):
        return None
    made = Layout(axis, each, found[0])
    return FIRST if made == FIRST else made


def _moved(given: Mark, turned: Mark, less: Mark, moves: Moves, axis: int, each: int, copies: bool) -> bool:
    """Whether slices along an axis moved as rows did."""
    place = Layout(0, each, copies)
    slices = given.slices[axis]
    order, kept = (place.positions(rows.to(slices.device), moves.rows, each) for rows in (moves.order, moves.kept))
    return _same(slices[order], turned.slices[axis], given.tolerance) and _same(
        slices[kept], less.slices[axis], given.tolerance
    )


def _same(one: Tensor, other: Tensor, tolerance: float) -> bool:
    size = float(one.abs().amax()) if one.numel() else 0.0
    return one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=tolerance * max(size, 1e-3))

"""The inputs of a network as a batch: how they are cut into rows, and how rows are told apart."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..layers import ENTRIES, FIRST, PLAIN, TOLERANCE, Layout, directions, in_vmap, not_followed, unwrapped
from ._nested import Nested


@dataclass(frozen=True)
class Batch:
    """A network's inputs.

    Attributes:
        leaves: tensors and other values.
        form: how they are nested.
        rows: number of rows; a tensor with as many slices along its first axis holds one for each row.
        reading: which lists with as many entries hold one for each row, and so are not cut inside (a list of pictures):
            0: none, 1: all except lists of numbers alone (a size), 2: all.
        copies: where tensors with several slices for each row hold a row's: False: side by side; True: one in each
            of several copies of the batch; None: such tensors serve all rows.
        places: the rows' layout in each leaf; None: it serves all rows.
    """

    leaves: Sequence[Any]
    form: Nested
    rows: int
    reading: int = 0
    copies: bool | None = None
    places: Sequence[Layout | None] = ()

    @classmethod
    def of(
        cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: int, reading: int = 0, copies: bool | None = None
    ) -> Batch:
        inputs = args, dict(kwargs)

        def of_rows(value: Any) -> bool:
            if value is inputs or value is args or type(value) not in (list, tuple) or len(value) != rows:
                return False
            return reading > 1 or not all(isinstance(one, (bool, int, float, NoneType)) for one in value)

        leaves, form = Nested.of(inputs, whole=of_rows if reading else None)
        return cls(leaves, form, rows, reading, copies, [_place(leaf, rows, copies) for leaf in leaves])

    def read(self, reading: int, copies: bool | None = None) -> Batch:
        """The same inputs in another reading."""
        same = (reading, copies) == (self.reading, self.copies)
        return self if same else Batch.of(*self.arguments(), self.rows, reading, copies)

    def readings(self) -> list[Batch]:
        """The possible readings of the inputs, the likeliest first: a slice for each row, lists, several slices."""
        found = [self] if any(self.places) else []
        lists = [sum(isinstance(leaf, (list, tuple)) for leaf in self.read(n).leaves) for n in (1, 2)]
        others = [self.read(n) for n in (1, 2) if lists[n - 1] > (lists[0] if n > 1 else 0)]
        ways = others + found if self.cuts_inside() == "some" else found + others
        several = [self.read(0, copies) for copies in (False, True)] if self.holds_several() else []
        return ways + several or [self]

    def holds_several(self) -> bool:
        """Whether a tensor may hold several slices for each row."""
        return [*self.read(0, False).places] != [*self.read(0).places]

    def cuts_inside(self) -> Literal["no", "some", "all"]:
        """Whether tensors inside lists of rows have a slice for each row too."""
        lists = [leaf for leaf in self.read(1).leaves if isinstance(leaf, (list, tuple))]
        found = {len(leaf) == self.rows for leaf in Nested.of(lists)[0] if isinstance(leaf, Tensor) and leaf.dim()}
        return ("all" if found == {True} else "some") if True in found else "no"

    @property
    def tensors(self) -> list[Tensor]:
        return [leaf for leaf in Nested.of([*self.leaves])[0] if isinstance(leaf, Tensor)]

    def with_own_entries(self) -> Batch:
        """The batch with distinct entries in its lists, as far as they hold tensors: equal ones hide where rows go."""
        numbers, other = torch.Generator().manual_seed(2), self.read(1)
        leaves = [
            self._other(leaf, numbers)
            if isinstance(leaf, (list, tuple)) and len({*alike([_numbers(leaf, self.rows)], self.rows)}) < self.rows
            else leaf
            for leaf in other.leaves
        ]
        return replace(other, leaves=leaves).read(self.reading, self.copies)

    @property
    def key(self) -> tuple[object, ...]:
        """The properties of the inputs that layouts depend on."""
        return str(self.form), self.rows, *map(self._key, self.leaves)

    @staticmethod
    def _key(leaf: Any) -> object:
        if isinstance(leaf, Tensor):
            return leaf.shape, leaf.dtype
        return leaf if isinstance(leaf, PLAIN) else (type(leaf), str(getattr(leaf, "shape", "")))

    def take(self, rows: Tensor) -> Batch:
        """The batch of these rows alone."""
        leaves = [
            type(leaf)(_copied(leaf[n], -1) for n in rows.tolist())
            if isinstance(leaf, (list, tuple))
            else place.take(leaf, rows, self.rows)
            if isinstance(leaf, Tensor) and place
            else _copied(leaf, self.rows, rows)
            for leaf, place in zip(self.leaves, self.places, strict=True)
        ]
        return replace(self, leaves=leaves, rows=len(rows))

    def twice(self) -> Batch:
        return self.take(torch.arange(self.rows, device="cpu").repeat(2))

    def copied(self) -> Batch:
        return replace(self, leaves=[_copied(leaf, self.rows) for leaf in self.leaves])

    def unwrapped(self) -> Batch:
        """The batch without wrappers of `torch.func`'s derivatives around the pass."""
        leaves = [unwrapped(leaf) if isinstance(leaf, Tensor) and not in_vmap(leaf) else leaf for leaf in self.leaves]
        return replace(self, leaves=leaves)

    def given_back(self, other: Batch) -> Batch:
        """Undoes a hook's writes to another batch, from which this copy was made before; returns the copy."""
        for mine, theirs in zip(self.leaves, other.leaves, strict=True):
            if isinstance(mine, Tensor) and theirs.shape == mine.shape and not torch.equal(mine, theirs):
                theirs.data.copy_(mine)
        return self

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self.form.filled(self.leaves)

    def distinct(self) -> tuple[Batch, bool]:
        """The batch with distinct rows, and whether they are distinct: equal rows hide where they go."""
        if self._differ():
            return self, True
        numbers = torch.Generator().manual_seed(0)
        leaves = self._leaves_of_rows(lambda leaf: self._other(leaf, numbers))
        other = replace(self, leaves=leaves)
        return (other, True) if other._differ() else (self, False)

    def shaken(self) -> Batch:
        """The batch with noise of its numbers' magnitude."""
        numbers = torch.Generator().manual_seed(1)
        return replace(self, leaves=self._leaves_of_rows(lambda leaf: self._other(leaf, numbers, 1.0, whole=False)))

    def _leaves_of_rows(self, change: Callable[[Any], Any]) -> list[Any]:
        """The leaves, those with something for each row changed."""
        return [change(leaf) if place else leaf for leaf, place in zip(self.leaves, self.places, strict=True)]

    def _differ(self) -> bool:
        """Whether all rows differ, some by more than rounding."""
        every = self._numbers()
        spread = [(one.amax(0) - one.amin(0)).max() for one in every]
        seen = [apart > TOLERANCE * one.abs().max().clamp(min=1e-3) for apart, one in zip(spread, every, strict=True)]
        return any(seen) and alike(every, self.rows) == tuple(range(self.rows))

    def alike(self) -> tuple[int, ...]:
        """For each row, the index of the first equal one."""
        return alike(self._numbers(), self.rows)

    def _numbers(self) -> list[Tensor]:
        every = zip(self.leaves, self.places, strict=True)
        return [_numbers(leaf, self.rows, place.copies) for leaf, place in every if place]

    @classmethod
    def _other(cls, leaf: Any, numbers: torch.Generator, size: float = 0.1, whole: bool = True) -> Any:
        """A leaf of rows with other numbers; `whole`: integers too."""
        if isinstance(leaf, (list, tuple)):
            return type(leaf)(cls._entry(one, n, numbers, size, whole) for n, one in enumerate(leaf))
        if leaf.is_floating_point():
            with not_followed():  # `Unmoved` would make zeros of the noise
                noise = torch.randn(leaf.shape, generator=numbers, device="cpu").to(leaf)
            return leaf + noise * (size * leaf.abs().float().mean().to(leaf) + 0.1) if leaf.numel() else leaf
        if leaf.dim() < 2 or not whole:
            return leaf
        return torch.stack([row.roll(n, -1) for n, row in enumerate(leaf)])

    @classmethod
    def _entry(cls, entry: Any, n: int, numbers: torch.Generator, size: float, whole: bool) -> Any:
        leaves, form = Nested.of(entry)
        for place, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.dim():
                rolled = leaf.roll(n, -1) if whole else leaf
                leaves[place] = cls._other(leaf, numbers, size) if leaf.is_floating_point() else rolled
        return form.filled(leaves)


def _place(leaf: object, rows: int, copies: bool | None) -> Layout | None:
    """Where a value has something for each row; None: it serves all rows."""
    if isinstance(leaf, (list, tuple)):
        return ENTRIES
    if not isinstance(leaf, Tensor) or leaf.is_nested or not leaf.dim():
        return None
    if len(leaf) == rows:
        return FIRST
    several = copies is not None and len(leaf) > rows and len(leaf) % rows == 0
    return Layout(0, len(leaf) // rows, bool(copies)) if several else None


def _numbers(leaf: Any, rows: int, copies: bool = False) -> Tensor:
    """A fingerprint of each row, `[rows, 2]`."""
    if isinstance(leaf, Tensor):
        flat = (leaf.detach().unflatten(0, (-1, rows)).transpose(0, 1) if copies else leaf.detach()).reshape(rows, -1)
        flat = flat.double().nan_to_num()
        return (flat @ directions(flat.shape[1], flat)).cpu()
    made = torch.zeros(rows, 2, dtype=torch.float64, device="cpu")
    for n, entry in enumerate(leaf):
        for place, one in enumerate(Nested.of(entry)[0], 1):
            if isinstance(one, Tensor):
                made[n] += place * (_numbers(one[None], 1)[0] if one.numel() else 0)
            else:
                made[n] += place * zlib.crc32(str(one if isinstance(one, PLAIN) else id(one)).encode()) / 2**32
    return made


def alike(numbers: Sequence[Tensor], rows: int) -> tuple[int, ...]:
    """For each row, the index of the first one with the same numbers."""
    if not numbers:
        return (0,) * rows
    first: dict[int, int] = {}
    groups = torch.cat([*numbers], 1).unique(dim=0, return_inverse=True)[1]
    return tuple(first.setdefault(group, n) for n, group in enumerate(groups.tolist()))


def _copied(value: Any, size: int, rows: Tensor | None = None) -> Any:
    """A copy of a value with these rows alone; tensors inside objects (a cache of keys and values) are copied too."""
    if isinstance(value, Tensor):
        return (
            value[rows.to(value.device)] if rows is not None and value.dim() and len(value) == size else value.clone()
        )
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_copied(one, size, rows) for one in value)
    if isinstance(value, dict):
        held = copy.copy(value)
        for name, one in value.items():
            held[name] = _copied(one, size, rows)
        return held
    if isinstance(value, (nn.Module, type, *PLAIN)) or not hasattr(value, "__dict__"):
        return value
    twin = copy.copy(value)
    twin.__dict__.update(_copied(vars(value), size, rows))
    return twin


def copied(value: Any) -> Any:
    """A copy of a value and of the tensors inside it."""
    return _copied(value, -1)

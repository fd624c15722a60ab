"""Findings about batches: the layouts of their rows, from passes of the plain network on moved rows."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn

from ..layers import (
    PLAIN,
    TOLERANCE,
    Layout,
    OfTasks,
    Plan,
    Seen,
    Selection,
    directions,
    in_vmap,
    not_followed,
    unwrapped,
)
from ._entries import Path
from ._nested import Nested

UNKNOWN = Seen((None,), (None,))
"""The value for a layer whose rows can't be told apart."""


@dataclass
class Known:
    """The findings about batches of one form.

    Attributes:
        layers: the layouts of each layer's tensors.
        outputs: the layouts of the network's outputs.
        trouble: why inputs of this form can't be cut into rows; empty: they can.
        chosen: why the findings hold for this input alone, so that its tasks run one by one; empty: they do not.
        apart: why tasks run one by one, although the rows of layers and outputs are known; empty: they need not.
        lasting: the findings hold for later batches of this form.
        equal: they hold for later batches in which the same rows are equal.
        decisions: the numbers that the network read: the findings hold for passes that read the same.
        each: indices of those that each row must give by itself too, since nobody has seen what another does.
        once: layers that the first of several passes called more often, so that it cached their outputs.
        failed: by layer, the deviation of a later batch.
        reading: how the inputs are read (see `Batch`).
        lists: paths of lists in the output that have an entry for each row.
        hooks: the user's hooks, if one of them changes its arguments.
        hooked: the message of that hook's error.
        under: the findings for batches under these hooks.
        served: a mixed batch of this form was evaluated in one pass.
        trained: the plans of the sets of tasks that were trained on such a batch.
    """

    layers: Mapping[str, Seen] = field(default_factory=dict)
    outputs: tuple[Layout | None, ...] = ()
    trouble: str = ""
    chosen: str = ""
    apart: str = ""
    lasting: bool = True
    equal: bool = False
    decisions: tuple[Any, ...] = ()
    each: tuple[int, ...] = ()
    once: frozenset[str] = frozenset()
    reading: int = 0
    lists: tuple[Path, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    hooks: tuple[Any, ...] = ()
    hooked: str = ""
    under: Known | None = None
    served: bool = False
    trained: WeakSet[Plan] = field(default_factory=WeakSet)

    def has_answered(self, selection: Selection) -> bool:
        """Whether a pass like this one has succeeded: in evaluation any, in training one for the same tasks."""
        answers = selection.answers
        return isinstance(answers, OfTasks) and answers.plan in self.trained if selection.training else self.served

    def answered_for(self, selection: Selection) -> None:
        if not selection.training:
            self.served = True
        elif isinstance(selection.answers, OfTasks):
            self.trained.add(selection.answers.plan)

    def unknown(self, layers: Collection[str]) -> str:
        """Why tasks that change these layers can't share a pass; empty: they can."""
        if self.chosen or self.apart:
            return self.chosen or self.apart
        for layer in layers:
            seen = self.layers.get(layer)  # None: it never ran; its site checks when it does
            why = self.failed.get(layer, "" if seen is None else seen.unknown)
            if why:
                return f"layer {layer!r} {why}"
        return ""


@dataclass(frozen=True)
class Batch:
    """A network's inputs.

    Attributes:
        leaves: tensors and other values.
        form: how they are nested.
        rows: number of rows; a tensor with as many slices along its first axis holds one for each row.
        reading: which lists with as many entries hold one for each row, and so are not cut inside (a list of pictures):
            0: none, 1: all except lists of numbers alone (a size), 2: all.
    """

    leaves: Sequence[Any]
    form: Nested
    rows: int
    reading: int = 0

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: int, reading: int = 0) -> Batch:
        inputs = args, dict(kwargs)

        def of_rows(value: Any) -> bool:
            if value is inputs or value is args or type(value) not in (list, tuple) or len(value) != rows:
                return False
            return reading > 1 or not all(isinstance(one, (bool, int, float, NoneType)) for one in value)

        leaves, form = Nested.of(inputs, whole=of_rows if reading else None)
        return cls(leaves, form, rows, reading)

    def read(self, reading: int) -> Batch:
        """The same inputs in another reading."""
        return self if reading == self.reading else Batch.of(*self.arguments(), self.rows, reading)

    def readings(self) -> list[Batch]:
        """The possible readings of the inputs, the likeliest first: tensors of rows alone, or lists of rows too."""
        found = [self] if any(map(self.cut, self.leaves)) else []
        lists = [sum(isinstance(leaf, (list, tuple)) for leaf in self.read(n).leaves) for n in (1, 2)]
        others = [self.read(n) for n in (1, 2) if lists[n - 1] > (lists[0] if n > 1 else 0)]
        return (others + found if self.cuts_inside() == "some" else found + others) or [self]

    def cuts_inside(self) -> Literal["no", "some", "all"]:
        """Whether tensors inside lists of rows have a slice for each row too."""
        lists = [leaf for leaf in self.read(1).leaves if isinstance(leaf, (list, tuple))]
        found = {self.cut(leaf) for leaf in Nested.of(lists)[0] if isinstance(leaf, Tensor) and leaf.dim()}
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
        return replace(other, leaves=leaves).read(self.reading)

    @property
    def key(self) -> tuple[object, ...]:
        """The properties of the inputs that layouts depend on."""
        return str(self.form), *(self._key(leaf) for leaf in self.leaves)

    def _key(self, leaf: Any) -> object:
        if not isinstance(leaf, Tensor):
            return leaf if isinstance(leaf, PLAIN) else (type(leaf), str(getattr(leaf, "shape", "")))
        return leaf.shape, leaf.dtype, self.cut(leaf)

    def cut(self, leaf: object) -> bool:
        """Whether a value has a slice or entry for each row."""
        if isinstance(leaf, Tensor):
            return leaf.dim() > 0 and len(leaf) == self.rows
        return isinstance(leaf, (list, tuple))

    def take(self, rows: Tensor) -> Batch:
        """The batch of these rows alone."""
        leaves = [
            type(leaf)(_copied(leaf[n], -1) for n in rows.tolist())
            if isinstance(leaf, (list, tuple))
            else _copied(leaf, self.rows, rows)
            for leaf in self.leaves
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
        leaves = [self._other(leaf, numbers) if self.cut(leaf) else leaf for leaf in self.leaves]
        other = replace(self, leaves=leaves)
        return (other, True) if other._differ() else (self, False)

    def shaken(self) -> Batch:
        """The batch with noise of its numbers' magnitude."""
        numbers = torch.Generator().manual_seed(1)
        leaves = [self._other(leaf, numbers, 1.0, whole=False) if self.cut(leaf) else leaf for leaf in self.leaves]
        return replace(self, leaves=leaves)

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
        return [_numbers(leaf, self.rows) for leaf in self.leaves if self.cut(leaf)]

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


def _numbers(leaf: Any, rows: int) -> Tensor:
    """A fingerprint of each row, `[rows, 2]`."""
    if isinstance(leaf, Tensor):
        flat = leaf.detach().reshape(rows, -1).double().nan_to_num()
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
        return {name: _copied(one, size, rows) for name, one in value.items()}
    if isinstance(value, (nn.Module, type, *PLAIN)) or not hasattr(value, "__dict__"):
        return value
    twin = copy.copy(value)
    twin.__dict__.update(_copied(vars(value), size, rows))
    return twin


def copied(value: Any) -> Any:
    """A copy of a value and of the tensors inside it."""
    return _copied(value, -1)


def agreed(known: Iterable[Known]) -> dict[str, Seen]:
    """The layouts by layer on which the findings for all forms of inputs agree."""
    found: dict[str, Seen] = {}
    for one in known:
        for layer, seen in one.layers.items():
            if one.unknown([layer]) or one.trouble or not _alike(found.setdefault(layer, seen), seen):
                found[layer] = UNKNOWN
    return found


def _alike(one: Seen, other: Seen) -> bool:
    """Whether layouts agree except in the number of entries per row."""

    def order(places: Iterable[Layout | None]) -> list[object]:
        return [None if place is None else (place.axis, place.copies, place.copies and place.each) for place in places]

    return order(one.inputs) == order(other.inputs) and order(one.outputs) == order(other.outputs)

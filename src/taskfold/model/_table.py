"""The immutable table of a bank, with a row for each task."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..interventions import Intervention, Shapes, padded
from ..kinds import LayerKind
from ..layers import Stack
from ..layers import Table as Columns
from ._heads import Heads, room

Layout = Mapping[str, tuple[tuple[Intervention, Shapes], ...]]
"""By path, the interventions at a layer, innermost first, with the shapes of a task's tensors."""


Matrices = tuple[Tensor, Tensor]
"""Numbers and packed bits, with the same rows."""
ROWS = 1 << 20
"""The most places of a table. A task's number in an index is its place plus `ROWS` times a random number."""
GONE = 4096
"""The most names of removed tasks that a table remembers, the latest ones."""
_CHANCE = random.SystemRandom()  # no seed repeats its numbers


class Table(nn.Module):
    """Tasks as rows of numbers, and of packed bits.

    Two tables may share memory: a new table writes to rows that no table in use names.

    Args:
        numbers: `[P, N]`, a row for each place.
        bits: `[P, K]`, bytes: a row of packed bits for each place.
        heads: of the places.
        layout: of a row.
        tasks: by name, the task's number in an index, which is unique over all banks.
        gone: names of removed tasks, by number.
        free: places that no table in use names.
        leaving: (version, place): free once no table of that version or an older one is in use.
        version: counted from 0.
    """

    numbers: Tensor
    bits: Tensor
    there: Tensor
    """`[P]`: the number of the task at each place, or -1."""

    def __init__(
        self,
        numbers: Tensor,
        bits: Tensor,
        heads: Heads,
        layout: Layout | None = None,
        tasks: Mapping[str, int] | None = None,
        gone: Mapping[int, str] | None = None,
        free: tuple[int, ...] = (),
        leaving: tuple[tuple[int, int], ...] = (),
        version: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers, persistent=False)
        self.register_buffer("bits", bits, persistent=False)
        self.heads = heads
        self.layout: Layout = layout or {}
        self.tasks, self.gone = dict(tasks or {}), dict([*(gone or {}).items()][-GONE:])
        self.places = {name: number % ROWS for name, number in self.tasks.items()}
        self.held = frozenset(self.tasks.values())
        known = torch.tensor([*self.tasks.values()], dtype=torch.long, device="cpu")
        there = torch.full((max(len(numbers), 1),), -1, device="cpu")
        there[known % ROWS] = known
        self.register_buffer("there", there.to(numbers.device), persistent=False)
        self.free, self.leaving, self.version = free, leaving, version
        self._columns: Columns | None = None

    def nbytes(self) -> int:
        """Bytes of all rows and heads, idle ones included."""
        held = (*self.matrices, self.there, *self.heads.tables())
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    @property
    def matrices(self) -> Matrices:
        return self.numbers, self.bits

    def columns(self, places: Tensor | None = None) -> Columns:
        """The columns of the rows at places `[B]`, by layer; default: of all rows."""
        if places is not None:
            return _columns([held.index_select(0, places) for held in self.matrices], self.layout)
        if torch.compiler.is_compiling():
            return _columns(self.matrices, self.layout)
        if self._columns is None:
            self._columns = _columns(self.matrices, self.layout)
        return self._columns

    def added(
        self,
        name: str,
        stacks: Mapping[str, Stack],
        head: nn.Module | None,
        kinds: Mapping[str, LayerKind],
        oldest: int,
    ) -> Table:
        """A table with one more task.

        Args:
            name: of the task.
            stacks: the task's stacks, by layer.
            head: of the task.
            kinds: of all layers of the table and the task.
            oldest: the version of the oldest table that may be in use.

        Raises:
            ValueError: the task's interventions at a layer do not fit into one layout with the others'.
        """
        layout = _merged(self.layout, stacks)
        self._check_all_have(layout, stacks, kinds)
        matrices = self.matrices if layout == self.layout else self._laid_out(layout, kinds)
        ready = [place for version, place in self.leaving if version < oldest]
        free = (*self.free, *ready)
        leaving = tuple(one for one in self.leaving if one[0] >= oldest)
        place, free = (free[-1], free[:-1]) if free else (len(self.places) + len(leaving), ())
        numbers, bits = (room(held, place + 1) for held in matrices)
        for held, row in zip((numbers, bits), _row(layout, stacks, kinds, self.matrices), strict=True):
            held[place] = row
        tasks = {**self.tasks, name: (1 + _CHANCE.getrandbits(42)) * ROWS + place}
        heads = self.heads.added(place, head)
        return Table(numbers, bits, heads, layout, tasks, self.gone, free, leaving, self.version + 1)

    def _check_all_have(self, layout: Layout, stacks: Mapping[str, Stack], kinds: Mapping[str, LayerKind]) -> None:
        """Checks that interventions without neutral tensors belong to all tasks or to none.

        Raises:
            ValueError: one belongs to some tasks alone.
        """
        for path, merged in layout.items() if self.tasks else ():
            there, mine = ({one for one, _ in held.get(path, ())} for held in (self.layout, stacks))
            for one, shapes in merged:
                if not (one in there and one in mine) and one.neutral(kinds[path], shapes) is None:
                    raise ValueError(
                        f"layer {path!r}: {'the new task has' if one in mine else 'tasks of the bank have'} rows "
                        f"{dict(shapes)} there that others do not have ({one.name}), and no numbers stand for none; "
                        "give tasks with as many rows a bank of their own"
                    )

    def removed(self, name: str) -> Table:
        tasks = {other: number for other, number in self.tasks.items() if other != name}
        place, gone = self.places[name], {**self.gone, self.tasks[name]: name}
        heads = self.heads.without(place, [number % ROWS for number in tasks.values()])
        leaving = (*self.leaving, (self.version, place))
        return Table(*self.matrices, heads, self.layout, tasks, gone, self.free, leaving, self.version + 1)

    def _laid_out(self, layout: Layout, kinds: Mapping[str, LayerKind]) -> Matrices:
        """The rows in another layout."""
        empty = _row(layout, {}, kinds, self.matrices)  # the row of a task without effect
        numbers, bits = (row.repeat(len(self.numbers), 1) for row in empty)
        after = _columns((numbers, bits), layout)
        for path, stack in _columns(self.matrices, self.layout).items():
            there = dict(after[path])
            for one, tensors in stack:
                for name, held in tensors.items():
                    view = there[one][name]
                    if view.shape != held.shape:
                        view.zero_()
                    view[(slice(None), *(slice(size) for size in held.shape[1:]))] = held
        return numbers, bits

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._columns = None
        return super()._apply(fn, recurse)


def _columns(matrices: Sequence[Tensor], layout: Layout) -> Columns:
    sizes: tuple[list[int], list[int]] = ([], [])
    for stack in layout.values():
        for one, shapes in stack:
            for name, shape in shapes.items():
                sizes[one.packed(name)].append(prod(shape))
    parts = [iter(held.split(mine, 1) if mine else ()) for held, mine in zip(matrices, sizes, strict=True)]
    return {
        path: [
            (one, {name: _shaped(next(parts[one.packed(name)]), shape) for name, shape in shapes.items()})
            for one, shapes in stack
        ]
        for path, stack in layout.items()
    }


def _row(layout: Layout, stacks: Mapping[str, Stack], kinds: Mapping[str, LayerKind], like: Matrices) -> list[Tensor]:
    """A task's row of each matrix, with neutral tensors where the task does nothing."""
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for path, stack in layout.items():
        mine = dict(stacks.get(path, ()))
        for one, shapes in stack:
            tensors = mine.get(one, {})
            if tensors.keys() != shapes.keys():
                neutral = one.neutral(kinds[path], shapes)
                if neutral is None:  # the row of no task, which is never read
                    neutral = {name: torch.zeros(shape) for name, shape in shapes.items()}
                tensors = {**neutral, **tensors}
            for name, shape in shapes.items():
                parts[one.packed(name)].append(padded(tensors[name].detach(), shape).reshape(-1))
    return [
        torch.cat([part.to(held) for part in mine]) if mine else held.new_zeros(0)
        for held, mine in zip(like, parts, strict=True)
    ]


def _merged(layout: Layout, stacks: Mapping[str, Stack]) -> Layout:
    found = dict(layout)
    for path, stack in stacks.items():
        mine = [(one, {name: tuple(tensor.shape) for name, tensor in tensors.items()}) for one, tensors in stack]
        merged = _both(found.get(path, ()), mine)
        if merged is None:
            there = " inside ".join(one.name for one, _ in found[path])
            sizes = [dict(shapes) for _, shapes in found[path]]
            raise ValueError(
                f"layer {path!r}: the tasks of the bank have {there} there, {sizes}, and the new one "
                f"{' inside '.join(one.name for one, _ in mine)}, {[shapes for _, shapes in mine]}, which no row "
                "holds together; give tasks of this method a bank of their own"
            )
        found[path] = merged
    return found


def _both(
    mine: Sequence[tuple[Intervention, Shapes]], other: Sequence[tuple[Intervention, Shapes]]
) -> tuple[tuple[Intervention, Shapes], ...] | None:
    """A stack of shapes that holds both, in the order of both; None: there is none."""
    found = list(mine)
    begin = 0
    for one, shapes in other:
        at = next((n for n, (known, _) in enumerate(found) if known == one), None)
        if at is None:
            at = begin
            while at < len(found) and found[at][0].depth < one.depth:
                at += 1
            found.insert(at, (one, shapes))
        elif at < begin:
            return None
        else:
            widened = one.widened(found[at][1], shapes)
            if widened is None:
                return None
            found[at] = one, widened
        begin = at + 1
    return tuple(found)


def widest(backbone: nn.Module) -> Tensor:
    """A tensor of the backbone's device and widest type, which holds numbers of any layer's type."""
    held = [p for p in backbone.parameters() if p.is_floating_point() and p.dtype.itemsize > 1]
    found = max(held, key=lambda p: p.dtype.itemsize, default=torch.zeros(()))
    return torch.zeros((), dtype=found.dtype, device=found.device)  # a plain tensor, also for quantised parameters


def _shaped(held: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`[T, n]` → `[T, …]`; for an empty shape, `[T]`."""
    return held.unflatten(1, shape) if shape else held[:, 0]

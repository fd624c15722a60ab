"""The table of a bank: a row of numbers for each task. A table is never changed: others are made of it."""

from __future__ import annotations

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
"""By layer, what stands there, inside out, and the shapes of a task's tensors."""


class Table(nn.Module):
    """Tasks as rows of numbers.

    Two tables may share memory: a table is made of another by writing to a row that no table in use names.

    Args:
        numbers: `[P, N]`, a row for each place.
        heads: of the places.
        layout: what a row holds.
        places: of the tasks, by name.
        born: for each task, the version of the table that it came with.
        free: places that no table in use names.
        leaving: (version, place): free, once no table of that version or an older one is in use.
        version: counted from 0.
    """

    numbers: Tensor

    def __init__(
        self,
        numbers: Tensor,
        heads: Heads,
        layout: Layout | None = None,
        places: Mapping[str, int] | None = None,
        born: Mapping[str, int] | None = None,
        free: tuple[int, ...] = (),
        leaving: tuple[tuple[int, int], ...] = (),
        version: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers, persistent=False)
        self.heads = heads
        self.layout: Layout = layout or {}
        self.places, self.born = dict(places or {}), dict(born or {})
        self.free, self.leaving, self.version = free, leaving, version
        self._columns: Columns | None = None

    def nbytes(self) -> int:
        """Bytes of all rows and heads, idle ones included."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.numbers, *self.heads.tables()))

    def columns(self, numbers: Tensor | None = None) -> Columns:
        """What rows `[B, N]` hold, by layer; default: all rows of the table."""
        if numbers is not None or torch.compiler.is_compiling():
            return _columns(self.numbers if numbers is None else numbers, self.layout)
        if self._columns is None:
            self._columns = _columns(self.numbers, self.layout)
        return self._columns

    def added(
        self,
        name: str,
        stacks: Mapping[str, Stack],
        head: nn.Module | None,
        kinds: Mapping[str, LayerKind],
        oldest: int,
    ) -> Table:
        """With one more task.

        Args:
            name: the task's.
            stacks: what it has at each layer.
            head: of the task.
            kinds: of all layers of both.
            oldest: the version of the oldest table that may be in use.

        Raises:
            ValueError: at some layer the task does something that can't stand in a row beside the others'.
        """
        layout = _merged(self.layout, stacks)
        numbers = self.numbers
        if layout != self.layout:
            numbers = self._laid_out(layout, kinds)
        ready = [place for version, place in self.leaving if version < oldest]
        free = (*self.free, *ready)
        leaving = tuple(one for one in self.leaving if one[0] >= oldest)
        place, free = (free[-1], free[:-1]) if free else (len(self.places) + len(leaving), ())
        numbers = room(numbers, place + 1)
        numbers[place] = _row(layout, stacks, kinds, numbers)
        version = self.version + 1
        heads = self.heads.added(place, head)
        return Table(
            numbers,
            heads,
            layout,
            {**self.places, name: place},
            {**self.born, name: version},
            free,
            leaving,
            version,
        )

    def removed(self, name: str) -> Table:
        """Without a task."""
        places = {other: place for other, place in self.places.items() if other != name}
        born = {other: version for other, version in self.born.items() if other != name}
        place = self.places[name]
        heads = self.heads.without(place, places.values())
        leaving = (*self.leaving, (self.version, place))
        return Table(self.numbers, heads, self.layout, places, born, self.free, leaving, self.version + 1)

    def _laid_out(self, layout: Layout, kinds: Mapping[str, LayerKind]) -> Tensor:
        """The same rows in another layout."""
        empty = _row(layout, {}, kinds, self.numbers)  # of tasks that leave every layer alone
        numbers = empty.repeat(len(self.numbers), 1)
        after = _columns(numbers, layout)
        for path, stack in _columns(self.numbers, self.layout).items():
            there = dict(after[path])
            for one, tensors in stack:
                for name, held in tensors.items():
                    view = there[one][name]
                    if view.shape != held.shape:
                        view.zero_()
                    view[(slice(None), *(slice(size) for size in held.shape[1:]))] = held
        return numbers

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._columns = None
        return super()._apply(fn, recurse)


def _columns(numbers: Tensor, layout: Layout) -> Columns:
    sizes = [prod(shape) for stack in layout.values() for _, shapes in stack for shape in shapes.values()]
    parts = iter(numbers.split(sizes, 1))
    return {
        path: [
            (one, {name: next(parts).unflatten(1, shape) for name, shape in shapes.items()}) for one, shapes in stack
        ]
        for path, stack in layout.items()
    }


def _row(layout: Layout, stacks: Mapping[str, Stack], kinds: Mapping[str, LayerKind], like: Tensor) -> Tensor:
    """A task's row: where it does nothing, what leaves the layer alone."""
    parts: list[Tensor] = []
    for path, stack in layout.items():
        mine = dict(stacks.get(path, ()))
        for one, shapes in stack:
            tensors = mine.get(one, {})
            if tensors.keys() != shapes.keys():
                tensors = {**one.neutral(kinds[path], shapes), **tensors}
            parts += [padded(tensors[name].detach(), shape).reshape(-1) for name, shape in shapes.items()]
    return torch.cat([part.to(like) for part in parts]) if parts else like.new_zeros(0)


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
    """What holds both, in an order that both have; None: there is none."""
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

"""Who answers in a forward pass: tasks of a model, with gradient, or rows of a bank's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..interventions import Beside, Change, Intervention, stacked
from ..kinds import LayerKind, Tensors
from ._copied import Copied
from ._factored import Factored
from ._part import LayerParts, Part, Place, When, statistics_of

if TYPE_CHECKING:
    from ..tasks import Task
    from ._selection import Selection, Stack
    from ._sites import Site

Table = Mapping[str, Sequence[tuple[Intervention, Tensors]]]
"""By layer, what stands there and the table's columns, `[T, …]`."""
Column = tuple[str, list[Part | None]]
"""A part's name, and the part of each task; None: a task leaves the layer alone."""


class OfTasks:
    """Tasks of a model.

    Args:
        tasks: one, or the distinct ones of a mixed batch.
        made: tensors that were made ahead, by place; `[T, …]` for several tasks.
    """

    def __init__(self, tasks: Sequence[Task], made: Mapping[Place, Tensors] | None = None) -> None:
        self.tasks, self.made = tuple(tasks), made or {}
        self.sites: list[Mapping[str, LayerParts]] = [task.sites._modules for task in tasks]  # type: ignore[misc]

    def entries(self) -> int:
        return len(self.tasks)

    def alone(self, entry: int) -> OfTasks:
        return OfTasks((self.tasks[entry],))

    def written(self) -> list[Tensor]:
        return [tensor for task in self.tasks for tensor in (*task.buffers(), *statistics_of(task).values())]

    def touches(self, path: str) -> bool:
        return any(path in held for held in self.sites)

    def stack(self, site: Site, now: Selection) -> Stack:
        parts = self.sites[0].get(site.path)
        return [] if parts is None else stack_of(parts, site.kind, now, self.made, site.path)

    def stacks(self, site: Site, now: Selection) -> Stack | None:
        each = [held.get(site.path) for held in self.sites]
        columns = _columns(each)
        if columns is None or not all(part is None or part.alone for _, parts in columns for part in parts):
            stacks = [None if parts is None else stack_of(parts, site.kind, now, {}, site.path) for parts in each]
            return stack_together(stacks, site.kind)
        found: Stack = []
        for name, parts in columns:
            first = next(part for part in parts if part is not None)
            several = type(first).several(parts, site.kind, now, self.made.get((site.path, name)))
            if several is None:
                return None
            add(found, site.kind, first.intervention, several)
        return found

    def each(self, site: Site) -> list[Tensors] | None:
        found: list[Tensors] = []
        for held in self.sites:
            parts = held.get(site.path)
            alone = next(iter(parts), None) if parts is not None and len(parts) == 1 else None
            if alone is None or not isinstance(alone[1], Copied):
                return None
            found.append(alone[1].held())
        return found

    def draws(self, site: Site, now: Selection) -> bool:
        return any(part.draws_per_row(now) for held in self.sites for _, part in held.get(site.path, ()))

    def drawn(self, site: Site, now: Selection, index: Tensor) -> Stack:
        columns = _columns([held.get(site.path) for held in self.sites])
        found: Stack = []
        for name, parts in columns or [("", [None])]:
            first = parts[0]
            if isinstance(first, Factored) and first.draws_per_row(now):
                tensors = first.drawn(parts, index, site.kind, now)
            elif first is not None:
                several = type(first).several(parts, site.kind, now, self.made.get((site.path, name))) or {}
                tensors = {name: tensor.index_select(0, index) for name, tensor in several.items()}
            else:
                tensors = Factored.drawn([None], index, site.kind, now)
            assert first is not None
            add(found, site.kind, first.intervention, tensors)
        return found

    def stands_beside(self, site: Site) -> bool:
        columns = _columns([held.get(site.path) for held in self.sites])
        parts = [part for _, several in columns or () for part in several if part is not None]
        return bool(parts) and all(isinstance(part.intervention, Beside) for part in parts)


class OfTable:
    """Rows of a bank's table.

    Args:
        table: what stands at each layer.
        count: rows that it has.
    """

    def __init__(self, table: Table, count: int) -> None:
        self.table, self.count = table, count

    def entries(self) -> int:
        return self.count

    def alone(self, entry: int) -> OfTable:
        return OfTable(
            {path: [(one, _row(held, entry)) for one, held in stack] for path, stack in self.table.items()}, 1
        )

    def written(self) -> list[Tensor]:
        return []

    def touches(self, path: str) -> bool:
        return path in self.table

    def stack(self, site: Site, now: Selection) -> Stack:
        return [(one, {name: held[0] for name, held in tensors.items()}) for one, tensors in self.table[site.path]]

    def stacks(self, site: Site, now: Selection) -> Stack | None:
        return [(one, dict(tensors)) for one, tensors in self.table[site.path]]

    def each(self, site: Site) -> list[Tensors] | None:
        return None

    def draws(self, site: Site, now: Selection) -> bool:
        return False

    def drawn(self, site: Site, now: Selection, index: Tensor) -> Stack:
        raise NotImplementedError("a bank draws nothing")

    def stands_beside(self, site: Site) -> bool:
        return all(isinstance(one, Beside) for one, _ in self.table[site.path])


def add(stack: Stack, kind: LayerKind, intervention: Intervention, tensors: dict[str, Tensor]) -> None:
    """One more around what stands at a layer; two of a kind may become one."""
    if stack and stack[-1][0] == intervention:
        joined = intervention.joined(kind, stack[-1][1], tensors)
        if joined is not None:
            stack[-1] = intervention, joined
            return
    stack.append((intervention, tensors))


def stack_of(
    parts: LayerParts, kind: LayerKind, when: When, made: Mapping[Place, Tensors] | None = None, path: str = ""
) -> Stack:
    """What one task has at a layer, inside out."""
    found: Stack = []
    changed: dict[str, Tensor] = {}
    for n, (name, part) in enumerate(parts, 1):
        known = None if made is None else made.get((path, name))
        tensors = part.tensors(kind, changed, when) if known is None else dict(known)
        if n < len(parts) and isinstance(part.intervention, Change):
            changed |= part.intervention.folded(kind, tensors, changed)
        add(found, kind, part.intervention, tensors)
    return found


def stack_together(stacks: Sequence[Stack | None], kind: LayerKind) -> Stack | None:
    """The stacks of several tasks as one, tensors `[T, …]`; None: they differ in kind."""
    present = [stack for stack in stacks if stack is not None]
    order = [one for one, _ in present[0]]
    if any([one for one, _ in stack] != order for stack in present):
        return None
    found: Stack = []
    for n, one in enumerate(order):
        tensors = stacked(one, kind, [None if stack is None else stack[n][1] for stack in stacks])
        if tensors is None:
            return None
        found.append((one, tensors))
    return found


def _columns(each: Sequence[LayerParts | None]) -> list[Column] | None:
    """The parts of several tasks side by side, with the first one's names; None: they differ in kind."""
    lists = [None if parts is None else list(parts) for parts in each]
    first = next(parts for parts in lists if parts is not None)
    columns: list[Column] = []
    for n, (name, part) in enumerate(first):
        column: list[Part | None] = []
        for parts in lists:
            mine = None
            if parts is not None:
                mine = parts[n][1] if len(parts) == len(first) else None
                if mine is None or type(mine) is not type(part) or mine.intervention != part.intervention:
                    return None
            column.append(mine)
        columns.append((name, column))
    return columns


def _row(tensors: Tensors, entry: int) -> Tensors:
    return {name: held[entry : entry + 1] for name, held in tensors.items()}

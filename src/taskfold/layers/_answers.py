"""The two kinds of `Answers`: tasks of a model, with gradient, and rows of a bank's table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..interventions import Beside, Change, Intervention, stacked
from ..kinds import LayerKind, Rows, Tensors
from ._columns import Plan, side_by_side
from ._copied import Copied
from ._factored import Factored
from ._part import LayerParts, Place, When, statistics_of

if TYPE_CHECKING:
    from ..tasks import Task
    from ._selection import Selection, Stack

Table = Mapping[str, Sequence[tuple[Intervention, Tensors]]]
"""Interventions by layer path, each with columns of the table, `[T, …]`."""


class OfTasks:
    """The answers of a model's tasks.

    Args:
        tasks: one, or the distinct tasks of a mixed batch.
        made: tensors made by `ahead`, by place; `[T, …]` for several tasks.
        plan: the tasks' columns; None: a new one is made.
    """

    def __init__(
        self, tasks: Sequence[Task], made: Mapping[Place, Tensors] | None = None, plan: Plan | None = None
    ) -> None:
        self.tasks, self.made = tuple(tasks), made or {}
        if torch.compiler.is_compiling():
            _guarded(self.tasks)
        self.sites: list[Mapping[str, LayerParts]] = [task.sites._modules for task in tasks]  # type: ignore[misc]
        self.plan = Plan(self.sites) if plan is None else plan
        self.paths: Collection[str] = self.plan.paths

    @property
    def around(self) -> frozenset[str]:
        return self.plan.around

    def entries(self) -> int:
        return len(self.tasks)

    def who(self, rows: Rows | None) -> Hashable | None:
        serials = [task.serial for task in self.tasks]
        if rows is None:
            return tuple(serials)
        return None if rows.places is None else (rows.each, *(serials[place] for place in rows.places))

    def alone(self, entry: int) -> OfTasks:
        return OfTasks((self.tasks[entry],))

    def written(self) -> list[Tensor]:
        return [tensor for task in self.tasks for tensor in (*task.buffers(), *statistics_of(task).values())]

    def held(self) -> dict[str, Tensor]:
        return {name: tensor for task in self.tasks for name, tensor in task.named_parameters()}

    def context(self, inputs: Sequence[object], now: Selection) -> dict[str, object]:
        """The results of `Part.look` on a pass's input, for the rows of each task."""
        found: dict[str, object] = {}
        x = next((one for one in inputs if isinstance(one, Tensor)), None)
        for entry, part in self.plan.looking if x is not None else ():
            assert x is not None
            rows = None
            if now.rows is not None and now.spread is None:
                rows = (now.rows.entry_of_each(x.device) == entry).nonzero().flatten()
            found |= part.look(x, rows, now)
        return found

    def stack(self, path: str, kind: LayerKind, now: Selection) -> Stack:
        parts = self.sites[0].get(path)
        return [] if parts is None else stack_of(parts, kind, now, self.made, path)

    def common(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        if not self.plan.in_common(path) or self.draws(path, kind, now):
            return None
        parts = self.sites[0][path]
        return stack_of(parts, kind, now)

    def apart(self) -> frozenset[str]:
        """The paths at which tasks differ."""
        return frozenset(path for path in self.paths if not self.plan.in_common(path))

    def stacks(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        columns = self.plan.known.get(path) or self.plan.at(path)
        if columns is None:
            each = [held.get(path) for held in self.sites]
            stacks = [None if parts is None else stack_of(parts, kind, now) for parts in each]
            return stack_together(stacks, kind)
        found: Stack = []
        for name, intervention, column in columns:
            made = self.made.get((path, name))
            tensors = column.tensors(kind, now) if made is None else dict(made)
            if tensors is None:
                return None
            if found:
                add(found, kind, intervention, tensors)
            else:
                found.append((intervention, tensors))
        return found

    def each(self, path: str) -> list[Tensors] | None:
        found: list[Tensors] = []
        for held in self.sites:
            parts = held.get(path)
            alone = next(iter(parts), None) if parts is not None and len(parts) == 1 else None
            if alone is None or not isinstance(alone[1], Copied):
                return None
            found.append(alone[1].held())
        return found

    def draws(self, path: str, kind: LayerKind, now: Selection) -> bool:
        return any(part.draws_per_row(now) for held in self.sites for _, part in held.get(path, ()))

    def drawn(self, path: str, kind: LayerKind, now: Selection, index: Tensor) -> Stack:
        columns = side_by_side([held.get(path) for held in self.sites])
        found: Stack = []
        for name, parts in columns or [("", [None])]:
            first = parts[0]
            if first is None or (isinstance(first, Factored) and first.draws_per_row(now)):
                tensors = Factored.drawn(parts, index, kind, now)
            else:
                known = self.made.get((path, name)) or type(first).together(parts).tensors(kind, now) or {}
                tensors = {name: tensor.index_select(0, index) for name, tensor in known.items()}
            assert first is not None
            add(found, kind, first.intervention, tensors)
        return found

    def stands_beside(self, path: str) -> bool:
        columns = self.plan.at(path)
        return bool(columns) and all(isinstance(one, Beside) for _, one, _ in columns or ())


class OfTable:
    """The answers of the `count` rows of a bank's table.

    Args:
        table: interventions with their tensors, by path.
        count: number of rows.
        numbers: returns the number of the task of each row, unique over all banks.
    """

    def __init__(self, table: Table, count: int, numbers: Callable[[], Sequence[int]] | None = None) -> None:
        self.table, self.count, self.numbers = table, count, numbers
        self.paths: Collection[str] = table.keys()

    @property
    def around(self) -> frozenset[str]:
        return frozenset(path for path, stack in self.table.items() for one, _ in stack if one.around)

    def entries(self) -> int:
        return self.count

    def who(self, rows: Rows | None) -> Hashable | None:
        if rows is None or rows.places is None or self.numbers is None:
            return None
        numbers = self.numbers()
        return (rows.each, *(numbers[place] for place in rows.places))

    def alone(self, entry: int) -> OfTable:
        return OfTable(
            {path: [(one, _row(held, entry)) for one, held in stack] for path, stack in self.table.items()}, 1
        )

    def written(self) -> list[Tensor]:
        return []

    def held(self) -> dict[str, Tensor]:
        return {path: tensor for path, stack in self.table.items() for _, held in stack for tensor in held.values()}

    def stack(self, path: str, kind: LayerKind, now: Selection) -> Stack:
        return [
            (one, kind.in_use({name: held[0] for name, held in tensors.items()}, False))
            for one, tensors in self.table[path]
        ]

    def common(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        return None

    def stacks(self, path: str, kind: LayerKind, now: Selection) -> Stack | None:
        return [(one, kind.in_use(tensors, False)) for one, tensors in self.table[path]]

    def each(self, path: str) -> list[Tensors] | None:
        return None

    def draws(self, path: str, kind: LayerKind, now: Selection) -> bool:
        return False

    def drawn(self, path: str, kind: LayerKind, now: Selection, index: Tensor) -> Stack:
        raise NotImplementedError("a bank draws nothing")

    def stands_beside(self, path: str) -> bool:
        return all(isinstance(one, Beside) for one, _ in self.table[path])


def _guarded(tasks: Sequence[Task]) -> None:
    """Makes a compiler guard on the tasks' serials: it then checks them before it reuses what it compiled."""
    if any(task.serial == "" for task in tasks):
        raise AssertionError("a task has no serial")


def add(stack: Stack, kind: LayerKind, intervention: Intervention, tensors: dict[str, Tensor]) -> None:
    """Adds an intervention around a stack; two of a kind may be joined into one."""
    if stack and stack[-1][0] == intervention:
        joined = intervention.joined(kind, stack[-1][1], tensors)
        if joined is not None:
            stack[-1] = intervention, joined
            return
    stack.append((intervention, tensors))


def stack_of(
    parts: LayerParts, kind: LayerKind, when: When, made: Mapping[Place, Tensors] | None = None, path: str = ""
) -> Stack:
    """The stack of one task's parts at a layer."""
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
    """The stacks of several tasks as one, tensors `[T, …]`; None: the tasks differ in kind."""
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


def _row(tensors: Tensors, entry: int) -> Tensors:
    return {name: held[entry : entry + 1] for name, held in tensors.items()}

"""Plans, which stack the tensors of several tasks at a layer; a plan is made once for a set of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..interventions import Intervention
from ..kinds import LayerKind
from ._part import Column, LayerParts, Part, When

P = TypeVar("P", bound=Part)
Tables = Sequence[Mapping[str, Any]]
"""The dict that holds each task's tensor: looked up in every pass, since user code may replace the tensor."""


TablesByName = Mapping[str, tuple[str, Tables]]
"""By a tensor's name, its key and every task's table, for parts that are alike."""


@dataclass(frozen=True)
class Held:
    """A column of parts whose leaves are their tensors; `own`: all of them, `read`: those that evaluation reads."""

    own: TablesByName
    read: TablesByName

    def tensors(self, kind: LayerKind, when: When) -> dict[str, Tensor] | None:
        return kind.in_use(stack_of_tables(self.own if when.training else self.read), when.training)


def all_alike(kind: type[P], parts: Sequence[Part | None]) -> list[P] | None:
    """The parts, if each task has one of the class `kind` and they differ in values alone; else None."""
    found = [part for part in parts if isinstance(part, kind)]
    if len(found) < len(parts) or not all(found[0].alike(part) for part in found):
        return None
    return found


def stack_of_tables(own: TablesByName) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, (key, tables) in own.items():
        found[name] = torch.stack([*map(itemgetter(key), tables)])
    return found


def own_tables(parts: Sequence[Part]) -> TablesByName:
    return {name: (name, [part.own.table(name) for part in parts]) for name in parts[0].own}


class Plan:
    """The parts of several tasks by layer, arranged in columns; `tasks`: each one's parts by path."""

    def __init__(self, tasks: Sequence[Mapping[str, LayerParts]]) -> None:
        self.tasks = tasks
        self.paths = frozenset().union(*tasks)
        self.known: dict[str, list[tuple[str, Intervention, Column]] | None] = {}
        self.same: dict[str, bool] = {}
        self.looking = [
            (entry, part)
            for entry, held in enumerate(tasks)
            for parts in held.values()
            for _, part in parts
            if type(part).look is not Part.look
        ]
        """The index of the task and the part, for parts that look at the input before a pass."""

    @cached_property
    def around(self) -> frozenset[str]:
        """The paths with an intervention that also affects the layers inside (`Intervention.around`)."""
        each = [parts for held in self.tasks for parts in held.items()]
        return frozenset(path for path, parts in each if any(part.intervention.around for _, part in parts))

    def at(self, path: str) -> list[tuple[str, Intervention, Column]] | None:
        """Name, intervention and column of each part at a layer, innermost first; None: the tasks differ in kind."""
        if torch.compiler.is_compiling():
            return self._columns(path)
        if path not in self.known:
            self.known[path] = self._columns(path)
        return self.known[path]

    def in_common(self, path: str) -> bool:
        """Whether all tasks have equal parts at a layer, without leaves of their own."""
        if path not in self.same:
            first, *others = [parts and parts.common() for parts in (held.get(path) for held in self.tasks)]
            self.same[path] = first is not None and all(one == first for one in others)
        return self.same[path]

    def _columns(self, path: str) -> list[tuple[str, Intervention, Column]] | None:
        columns = side_by_side([held.get(path) for held in self.tasks])
        if columns is None or not all(part is None or part.alone for _, parts in columns for part in parts):
            return None
        found = []
        for name, parts in columns:
            first = next(part for part in parts if part is not None)
            found.append((name, first.intervention, type(first).together(parts)))
        return found


def side_by_side(each: Sequence[LayerParts | None]) -> list[tuple[str, list[Part | None]]] | None:
    """The parts of several tasks at a layer by the first task's names; None: the tasks differ in kind."""
    lists = [None if parts is None else list(parts) for parts in each]
    first = next(parts for parts in lists if parts is not None)
    columns: list[tuple[str, list[Part | None]]] = []
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

"""A part of a task: what one intervention of its does at one layer."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor, nn

from ..factors import STATISTICS, Group, Storage
from ..interventions import Intervention, stacked
from ..kinds import LayerKind, Tensors
from ..tasks import Leaves, Named, Task
from ._form import Form

Place = tuple[str, str]
"""A layer's path, and the name of a part there."""


@dataclass(frozen=True)
class Pass:
    """A pass, as far as a task's tensors depend on it."""

    training: bool
    progress: float = 1.0
    context: Mapping[str, object] = field(default_factory=dict)


SERVING = Pass(training=False)
"""Evaluation: what layers are asked for without a pass."""


class When(Protocol):
    """A forward pass, as far as tensors depend on it."""

    @property
    def training(self) -> bool:
        """Whether the pass trains."""
        ...

    @property
    def progress(self) -> float:
        """How far the training is, 0 to 1; 1 outside training."""
        ...

    @property
    def context(self) -> Mapping[str, object]:
        """What parts have made of the input before the pass; empty where there is none."""
        ...


class Column(Protocol):
    """One part of several tasks."""

    def tensors(self, kind: LayerKind, when: When) -> dict[str, Tensor] | None:
        """The tensors `[T, …]`; None: they can't stand together."""
        ...


@dataclass(frozen=True)
class Each:
    """Parts that make their tensors one by one.

    Attributes:
        parts: of each task; None: it leaves the layer alone.
    """

    parts: Sequence[Part | None]

    def tensors(self, kind: LayerKind, when: When) -> dict[str, Tensor] | None:
        first = next(part for part in self.parts if part is not None)
        each: list[Tensors | None] = [part and part.tensors(kind, {}, when) for part in self.parts]
        return stacked(first.intervention, kind, each)


class Part(nn.Module):
    """One intervention of a task at one layer, and the leaves that its tensors are made of.

    Args:
        intervention: what the tensors do.
        own: the task's leaves.
        inventory: key in the model's inventory, and the leaves there; None: all is the task's own.

    Attributes:
        anneals: what the tensors are in training depends on `When.progress`.
    """

    anneals: ClassVar[bool] = False

    def __init__(self, intervention: Intervention, own: Leaves, inventory: tuple[str, Leaves] | None = None) -> None:
        super().__init__()
        self.intervention = intervention
        self.own = own
        # In a tuple, and not registered: the model holds it.
        self.inventory = inventory

    @abstractmethod
    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        """What the intervention takes, with gradient.

        Args:
            kind: the layer.
            changed: the layer's tensors that parts inside this one have changed.
            when: the pass.
        """

    @property
    def replaces(self) -> frozenset[str]:
        """The layer's tensors that have no part in the task's: nothing else needs to hold them."""
        return frozenset()

    carries: ClassVar[bool] = False
    """Whether the task's file holds what it has put into the inventory, so that the file needs none."""

    @property
    def passing(self) -> frozenset[str]:
        """Own leaves that go into the inventory when the task is trained: counts of a trained task leave them out."""
        return frozenset()

    def bits(self, tasks: int) -> int:
        """Bits beside numbers in the inventory, for so many tasks."""
        return 0

    @property
    def alone(self) -> bool:
        """Whether its tensors do not depend on what stands inside."""
        return True

    @property
    def silent(self) -> frozenset[str]:
        """The names of own tensors that have no part in what the task does as things are."""
        return frozenset()

    def draws_per_row(self, when: When) -> bool:
        """Whether its tensors differ from row to row of a batch."""
        return False

    def look(self, x: Tensor, rows: Tensor | None, when: When) -> dict[str, object]:
        """What the part makes of the network's first input before a pass, under names of its own; most make nothing.

        Args:
            x: the input.
            rows: `[n]`, those that are the task's; None: all.
            when: the pass.
        """
        return {}

    def alike(self, other: Part) -> bool:
        """Whether the other differs in nothing but the numbers of its own leaves."""
        return False

    def stored(self) -> Part:
        """The part as files keep it: of the same tensors, made of fewer leaves."""
        return self

    @classmethod
    def together(cls, parts: Sequence[Part | None]) -> Column:
        """How the tensors of several tasks come to stand together.

        Args:
            parts: of each task, all of this class; None: a task leaves the layer alone.
        """
        return Each(parts)

    def common(self) -> object | None:
        """What is equal for tasks that do the same here; None: the task has something of its own."""
        if len(self.own) or self.inventory is None:
            return None
        return type(self), self.inventory[0]

    def leaves(self) -> Iterator[tuple[str, Tensor, Group]]:
        """The task's own tensors, and what each counts as."""
        for name, tensor in self.own.items():
            yield name, tensor, self.own.groups[name]


class LayerParts(nn.Module):
    """Everything that one task does at one layer.

    Args:
        parts: inside out, by name.
        form: of the layer.
    """

    def __init__(self, parts: Mapping[str, Part], form: Form) -> None:
        super().__init__()
        self.form = form
        self._modules.update(parts)

    def __iter__(self) -> Iterator[tuple[str, Part]]:
        return iter(self._modules.items())  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._modules)

    def common(self) -> object | None:
        """What is equal for tasks that do the same here; None: the task has something of its own."""
        found = [(name, part.common()) for name, part in self]
        return None if any(one is None for _, one in found) else tuple(found)


def layers_of(task: Task) -> Iterator[tuple[str, LayerParts]]:
    """Everything that a task does at each layer that it does not leave alone, by the layer's path."""
    for path, parts in task.sites._modules.items():
        assert isinstance(parts, LayerParts)
        yield path, parts


def as_stored(task: Task) -> Task:
    """The task as files keep it; the same one if no part is kept in another form. Its method stays as it is."""
    sites = {path: (parts, {name: part.stored() for name, part in parts}) for path, parts in layers_of(task)}
    if all(part is kept[name] for parts, kept in sites.values() for name, part in parts):
        return task
    twin = copy.copy(task)
    made: dict[str, nn.Module] = {path: LayerParts(kept, parts.form) for path, (parts, kept) in sites.items()}
    twin.__dict__["_modules"] = {**task._modules, "sites": Named(made)}
    return twin


def forms_of(task: Task) -> dict[str, Form]:
    """What the layers were that a task adapts, when it came to them."""
    return {path: parts.form for path, parts in layers_of(task)}


def parts_of(task: Task) -> Iterator[tuple[Place, Part]]:
    """All parts of a task, by place."""
    return (((path, name), part) for path, parts in layers_of(task) for name, part in parts)


def inventory_of(task: Task) -> dict[str, nn.Parameter]:
    """The shared leaves that a task uses, as `<inventory key>:<leaf>`; empty if all it has is its own."""
    return {f"{key}:{name}": leaf for key, held in _inventories(task) for name, leaf in held.items()}


def stood_on(task: Task) -> dict[str, nn.Parameter]:
    """Those of them that must be there before the task's file can be loaded."""
    carried = {part.inventory[0] for _, part in parts_of(task) if part.inventory is not None and part.carries}
    return {key: leaf for key, leaf in inventory_of(task).items() if key.rpartition(":")[0] not in carried}


def groups_of_inventory(task: Task) -> dict[str, Group]:
    """What each of them counts as; running statistics are no parameters."""
    return {f"{key}:{name}": group for key, held in _inventories(task) for name, group in held.groups.items()}


def statistics_of(task: Task) -> dict[str, nn.Parameter]:
    """Those of them that are running statistics."""
    groups = groups_of_inventory(task)
    return {key: leaf for key, leaf in inventory_of(task).items() if groups[key] == STATISTICS}


def own_groups(task: Task) -> dict[str, Group]:
    """What each of the task's own tensors counts as, by its name in `task.state_dict()`; the head's are left out."""
    return {
        f"{path}.{name}": group
        for path, held in _own_leaves(task)
        for name, group in held.groups.items()
        if name in held
    }


def stored_of(task: Task) -> dict[str, Storage]:
    """How files keep those of the task's own tensors that they do not keep by their values, by the same names."""
    return {f"{path}.{name}": how for path, own in _own_leaves(task) for name, how in own.stored.items() if name in own}


def silent_of(task: Task) -> frozenset[str]:
    """The task's own tensors that have no part in what it does as things are, by the same names."""
    parts = ((path, module) for path, module in task.named_modules() if isinstance(module, Part))
    return frozenset(f"{path}.own.{name}" for path, part in parts for name in part.silent)


def _own_leaves(task: Task) -> Iterator[tuple[str, Leaves]]:
    return ((path, module) for path, module in task.named_modules() if isinstance(module, Leaves))


def _inventories(task: Task) -> Iterator[tuple[str, Leaves]]:
    return (part.inventory for _, part in parts_of(task) if part.inventory is not None)

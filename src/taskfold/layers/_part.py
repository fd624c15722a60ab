"""Parts: one intervention of a task at one layer, with the leaves that its tensors are made of."""

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
    """A plain `When`."""

    training: bool
    progress: float = 1.0
    context: Mapping[str, object] = field(default_factory=dict)


SERVING = Pass(training=False)
"""The `When` of evaluation outside of a pass."""


class When(Protocol):
    """The properties of a forward pass that a part's tensors depend on."""

    @property
    def training(self) -> bool:
        """Whether the pass is in training mode."""
        ...

    @property
    def progress(self) -> float:
        """Progress of the training, 0 to 1; 1 outside training."""
        ...

    @property
    def context(self) -> Mapping[str, object]:
        """Results of `Part.look` on the network's input; empty if no part looks."""
        ...


class Column(Protocol):
    """The parts of several tasks at one layer under one name."""

    def tensors(self, kind: LayerKind, when: When) -> dict[str, Tensor] | None:
        """The stacked tensors `[T, …]`; None: they can't be stacked."""
        ...


@dataclass(frozen=True)
class Each:
    """A column that makes each task's tensors separately, then stacks them.

    Attributes:
        parts: one per task; None: the task leaves the layer alone.
    """

    parts: Sequence[Part | None]

    def tensors(self, kind: LayerKind, when: When) -> dict[str, Tensor] | None:
        first = next(part for part in self.parts if part is not None)
        each: list[Tensors | None] = [part and part.tensors(kind, {}, when) for part in self.parts]
        return stacked(first.intervention, kind, each)


class Part(nn.Module):
    """One intervention of a task at one layer, and the leaves of its tensors.

    Args:
        intervention: applies the tensors at the layer.
        own: the task's leaves.
        inventory: key in the model's inventory, and the leaves there; None: all leaves are the task's own.

    Attributes:
        anneals: in training, the tensors depend on `When.progress`.
    """

    anneals: ClassVar[bool] = False

    def __init__(self, intervention: Intervention, own: Leaves, inventory: tuple[str, Leaves] | None = None) -> None:
        super().__init__()
        self.intervention = intervention
        self.own = own
        # A tuple, so that nn.Module does not register the leaves: the model holds them.
        self.inventory = inventory

    @abstractmethod
    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        """Makes the intervention's tensors, with gradient.

        Args:
            kind: the layer.
            changed: the layer's tensors as the parts inside this one have changed them.
            when: the pass.
        """

    @property
    def replaces(self) -> frozenset[str]:
        """Names of the layer's tensors that the part's tensors do not use: no other part needs to hold them."""
        return frozenset()

    carries: ClassVar[bool] = False
    """Whether the task's file holds the task's share of the inventory, so that loading needs no inventory file."""

    @property
    def passing(self) -> frozenset[str]:
        """Names of own leaves that move into the inventory after training: counts of a trained task leave them out."""
        return frozenset()

    def bits(self, tasks: int) -> int:
        """Bits that the inventory holds beside its numbers, for so many tasks."""
        return 0

    @property
    def alone(self) -> bool:
        """Whether the part's tensors are independent of the parts inside it."""
        return True

    @property
    def silent(self) -> frozenset[str]:
        """Names of own tensors that do not affect the task's output at present."""
        return frozenset()

    def draws_per_row(self, when: When) -> bool:
        """Whether the part draws other tensors for each row of a batch."""
        return False

    def look(self, x: Tensor, rows: Tensor | None, when: When) -> dict[str, object]:
        """Reads the network's first input before a pass; most parts make nothing of it.

        Args:
            x: the input.
            rows: `[n]`, indices of the task's rows; None: all.
            when: the pass.

        Returns:
                Entries of `When.context`, under names of the part's own.
        """
        return {}

    def alike(self, other: Part) -> bool:
        """Whether the other part differs only in the values of its own leaves."""
        return False

    def stored(self) -> Part:
        """The part as files keep it: the same tensors, made of fewer leaves."""
        return self

    @classmethod
    def together(cls, parts: Sequence[Part | None]) -> Column:
        """Makes the column of several tasks.

        Args:
            parts: one per task, all of this class; None: the task leaves the layer alone.
        """
        return Each(parts)

    def common(self) -> object | None:
        """A key that is equal for tasks whose parts are identical; None: the part has leaves of its own."""
        if len(self.own) or self.inventory is None:
            return None
        return type(self), self.inventory[0]

    def leaves(self) -> Iterator[tuple[str, Tensor, Group]]:
        """The name, the tensor and the group of each own leaf."""
        for name, tensor in self.own.items():
            yield name, tensor, self.own.groups[name]


class LayerParts(nn.Module):
    """All parts of one task at one layer.

    Args:
        parts: by name, innermost first.
        form: the layer's form when the task was added.
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
        """A key that is equal for tasks whose parts are identical; None: a part has leaves of its own."""
        found = [(name, part.common()) for name, part in self]
        return None if any(one is None for _, one in found) else tuple(found)


def layers_of(task: Task) -> Iterator[tuple[str, LayerParts]]:
    """The path of each layer that a task adapts, and the task's parts there."""
    for path, parts in task.sites._modules.items():
        assert isinstance(parts, LayerParts)
        yield path, parts


def as_stored(task: Task) -> Task:
    """The task with its parts as files keep them; the same object if all parts stay. The method is unchanged."""
    sites = {path: (parts, {name: part.stored() for name, part in parts}) for path, parts in layers_of(task)}
    if all(part is kept[name] for parts, kept in sites.values() for name, part in parts):
        return task
    twin = copy.copy(task)
    made: dict[str, nn.Module] = {path: LayerParts(kept, parts.form) for path, (parts, kept) in sites.items()}
    twin.__dict__["_modules"] = {**task._modules, "sites": Named(made)}
    return twin


def forms_of(task: Task) -> dict[str, Form]:
    """The forms of the adapted layers when the task was added, by path."""
    return {path: parts.form for path, parts in layers_of(task)}


def parts_of(task: Task) -> Iterator[tuple[Place, Part]]:
    """The place and the part, for all parts of a task."""
    return (((path, name), part) for path, parts in layers_of(task) for name, part in parts)


def inventory_of(task: Task) -> dict[str, nn.Parameter]:
    """The inventory's leaves that a task uses, as `<inventory key>:<leaf>`; empty if all leaves are its own."""
    return {f"{key}:{name}": leaf for key, held in _inventories(task) for name, leaf in held.items()}


def stood_on(task: Task) -> dict[str, nn.Parameter]:
    """The leaves of `inventory_of` that the model must hold before the task's file can be loaded."""
    carried = {part.inventory[0] for _, part in parts_of(task) if part.inventory is not None and part.carries}
    return {key: leaf for key, leaf in inventory_of(task).items() if key.rpartition(":")[0] not in carried}


def groups_of_inventory(task: Task) -> dict[str, Group]:
    """The group of each leaf of `inventory_of`."""
    return {f"{key}:{name}": group for key, held in _inventories(task) for name, group in held.groups.items()}


def statistics_of(task: Task) -> dict[str, nn.Parameter]:
    """The leaves of `inventory_of` that are running statistics."""
    groups = groups_of_inventory(task)
    return {key: leaf for key, leaf in inventory_of(task).items() if groups[key] == STATISTICS}


def own_groups(task: Task) -> dict[str, Group]:
    """The groups of the task's own tensors by name in `task.state_dict()`, without the head's."""
    return {
        f"{path}.{name}": group
        for path, held in _own_leaves(task)
        for name, group in held.groups.items()
        if name in held
    }


def stored_of(task: Task) -> dict[str, Storage]:
    """The storage of own tensors that files keep otherwise than by value, by name in `task.state_dict()`."""
    return {f"{path}.{name}": how for path, own in _own_leaves(task) for name, how in own.stored.items() if name in own}


def silent_of(task: Task) -> frozenset[str]:
    """Names in `task.state_dict()` of own tensors that do not affect the task's output at present."""
    parts = ((path, module) for path, module in task.named_modules() if isinstance(module, Part))
    return frozenset(f"{path}.own.{name}" for path, part in parts for name in part.silent)


def _own_leaves(task: Task) -> Iterator[tuple[str, Leaves]]:
    return ((path, module) for path, module in task.named_modules() if isinstance(module, Leaves))


def _inventories(task: Task) -> Iterator[tuple[str, Leaves]]:
    return (part.inventory for _, part in parts_of(task) if part.inventory is not None)

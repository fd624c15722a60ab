"""The tensors that a training moves: those of its tasks, and the inventory that they use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..layers import groups_of_inventory, inventory_of, statistics_of
from ..model import MultiTask, check_apart
from ..tasks import Task
from ._passes import still
from ._uncertainty import UNCERTAINTY, started


@dataclass(frozen=True)
class Belongings:
    """The tensors that a training moves, and those that it must not move.

    Attributes:
        tasks: the tasks, by name.
        groups: their trainable parameters, by group.
        shared: the trainable leaves of the inventory, by the names in `inventory_of`.
        fixed: leaves of the inventory that the tasks use and this training does not move.
        running: leaves of the inventory that are running statistics, which move without gradients.
        uncertainty: the logarithm of each task's variance, by task, with `weighting="uncertainty"`.
    """

    tasks: Mapping[str, Task]
    groups: Mapping[str, list[nn.Parameter]]
    shared: Mapping[str, nn.Parameter]
    fixed: Mapping[str, nn.Parameter]
    running: Mapping[str, nn.Parameter]
    uncertainty: Mapping[str, nn.Parameter] = field(default_factory=dict)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trainable parameters of the tasks."""
        return self.of(self.groups)

    @property
    def optimised(self) -> dict[str, list[nn.Parameter]]:
        """All parameters with an optimiser: the groups, and learned loss weights."""
        logs = list(self.uncertainty.values())
        return {**self.groups, **({UNCERTAINTY: logs} if logs else {})}

    def of(self, groups: Collection[str]) -> list[nn.Parameter]:
        """The trainable parameters of these groups."""
        return [parameter for group, own in self.groups.items() if group in groups for parameter in own]

    def idle(self, parameters: Sequence[nn.Parameter]) -> frozenset[int]:
        """The numbers of the tasks that use none of these parameters."""
        these = {id(parameter) for parameter in parameters}
        stood_on = [[*task.parameters(), *inventory_of(task).values()] for task in self.tasks.values()]
        return frozenset(n for n, all_of in enumerate(stood_on) if these.isdisjoint(map(id, all_of)))

    @property
    def own(self) -> list[nn.Parameter]:
        """The trainable parameters that are not shared."""
        shared = {id(leaf) for leaf in self.shared.values()}
        return [parameter for parameter in self.parameters if id(parameter) not in shared]

    def buffers(self) -> list[Tensor]:
        """Running statistics and other buffers."""
        return [*(buffer for task in self.tasks.values() for buffer in task.buffers()), *self.running.values()]

    def with_uncertainty(self, device: torch.device) -> Belongings:
        """These belongings with a learned variance for each task."""
        logs = dict(zip(self.tasks, started(len(self.tasks), device), strict=True))
        return replace(self, uncertainty=logs)

    def live(self) -> dict[str, Tensor]:
        """The tensors that a training can change, by name."""
        owned: dict[str, Tensor] = {
            f"{name}/{key}": tensor
            for name, task in self.tasks.items()
            for key, tensor in task.state_dict(keep_vars=True).items()
        }
        inventory = {f"/{key}": leaf for key, leaf in {**self.shared, **self.running}.items()}
        return owned | inventory | {f"//{name}": log for name, log in self.uncertainty.items()}

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of all live tensors."""
        return {name: tensor.detach().clone() for name, tensor in self.live().items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Copy a snapshot back into the same tensors."""
        for name, tensor in self.live().items():
            if name in state:  # or the user has registered it since, and the training ends with an error
                tensor.copy_(state[name])

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Run a block that begins without gradients, in which fixed tensors gather none."""
        held = [p for task in self.tasks.values() for p in task.parameters()]
        for parameter in (*held, *self.shared.values(), *self.fixed.values()):
            parameter.grad = None  # gradients that the user's own loop has left
        with still(self.fixed.values()):
            yield


def belongings(model: MultiTask, names: Sequence[str]) -> Belongings:
    """The belongings of a joint training of these tasks. A transferred task does not move its inventory.

    Raises:
        ValueError: a task is unknown or has no trainable parameter, or the training would move other tasks.
    """
    tasks = {name: model[name] for name in names}
    moving = {name: task for name, task in tasks.items() if task.transfer is None}
    stood_on = {key: leaf for task in tasks.values() for key, leaf in inventory_of(task).items()}
    shared_keys = {key for task in moving.values() for key, leaf in inventory_of(task).items() if leaf.requires_grad}
    running = {key: leaf for task in moving.values() for key, leaf in statistics_of(task).items()}
    shared = {key: leaf for key, leaf in stood_on.items() if key in shared_keys}
    fixed = {key: leaf for key, leaf in stood_on.items() if key not in shared_keys | running.keys()}
    for other in model.tasks:
        others = inventory_of(model[other]).keys()
        if other not in moving and (common := (shared.keys() | running.keys()) & others):
            remedy = "train it along" if model[other].transfer is None else "save and remove it first"
            raise ValueError(
                f"task {other!r} stands on the shared factors {min(common)!r} as they are, and this training would "
                f"move them: {remedy}"
            )
    rest = {name: model[name] for name in model.tasks if name not in tasks}
    for name, task in tasks.items():
        check_apart(name, task, model.backbone, rest)
    groups = _groups(tasks, shared)
    for name, task in tasks.items():
        if not any(p.requires_grad for p in task.parameters()) and not shared.keys() & inventory_of(task).keys():
            raise ValueError(
                f"task {name!r} has no trainable parameter; give it a head, or a method that adapts something"
            )
    return Belongings(tasks, groups, shared, fixed, running)


def _groups(tasks: Mapping[str, Task], shared: Mapping[str, nn.Parameter]) -> dict[str, list[nn.Parameter]]:
    found: dict[str, dict[int, nn.Parameter]] = {}
    for task in tasks.values():
        for group, own in task.groups().items():
            found.setdefault(group, {}).update({id(p): p for p in own if p.requires_grad})
    groups = {key: group.name for task in tasks.values() for key, group in groups_of_inventory(task).items()}
    for key, leaf in shared.items():
        found.setdefault(groups[key], {})[id(leaf)] = leaf
    return {group: list(own.values()) for group, own in found.items() if own}

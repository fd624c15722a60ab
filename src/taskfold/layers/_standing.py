"""What stands on the model's inventory: tensors that tasks have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

import torch
from torch import Tensor, nn

from ..factors import Leaf

Inventory = MutableMapping[str, nn.ParameterDict]

Bank = tuple[str, nn.ParameterDict]
"""Key in the inventory, and the leaves there."""

STATISTICS = "statistics"
"""Group of leaves that are no parameters: running means and variances. They need no gradient."""


class Standing(nn.Module):
    """A part of a task that may stand on a bank of the inventory."""

    shared: Bank | None
    """Held in a tuple, not registered, since the model owns it."""

    def __init__(self, shared: Bank | None = None) -> None:
        super().__init__()
        self.shared = shared


def make(leaves: Mapping[str, Leaf], like: Tensor, values: Mapping[str, Tensor] | None = None) -> nn.ParameterDict:
    """Parameters for leaves; at least float32, since small steps are lost in half precision.

    Args:
        leaves: by name.
        like: of that device and precision.
        values: to start at; others start as their leaf says.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    made = nn.ParameterDict()
    for name, leaf in leaves.items():
        parameter = nn.Parameter(torch.empty(leaf.shape, dtype=dtype, device=like.device))
        if values is not None and name in values:
            parameter.data.copy_(values[name])
        else:
            leaf.start(parameter.data)
        made[name] = parameter
    return grouped(made, {name: leaf.group for name, leaf in leaves.items()})


def grouped(bank: nn.ParameterDict, groups: Mapping[str, str]) -> nn.ParameterDict:
    """The bank, which now knows the group of each leaf."""
    bank.__dict__["groups"] = dict(groups)
    for name, leaf in bank.items():
        leaf.requires_grad_(groups[name] != STATISTICS and leaf.is_floating_point())
    return bank


def groups_of_bank(bank: nn.ParameterDict) -> Mapping[str, str]:
    """The group of each leaf."""
    return bank.__dict__["groups"]


def check_bank(key: str, bank: nn.ParameterDict, wanted: Mapping[str, tuple[int, ...]], whole: bool = False) -> None:
    """A task that joins wants leaves of the sizes that there are; `whole`: and no others may be there.

    Raises:
        ValueError: it does not.
    """
    found = {name: tuple(leaf.shape) for name, leaf in bank.items()}
    odd = [name for name, shape in wanted.items() if found.get(name) != shape]
    odd += [name for name in found if whole and name not in wanted]
    if odd:
        raise ValueError(
            f"the model's inventory {key!r} holds {found}, but this task wants {odd[0]!r} of shape "
            f"{wanted.get(odd[0], 'none')}: tasks that share an inventory share its sizes; leave rank, skills, splits, "
            "tensor_rank, order and targets as they are, or use a private method"
        )


def standing(task: nn.Module) -> Iterator[Bank]:
    """The banks that a task, or its state at one module, stands on, by their keys."""
    for module in task.modules():
        if isinstance(module, Standing) and module.shared is not None:
            yield module.shared


def inventory_of(task: nn.Module) -> dict[str, nn.Parameter]:
    """The shared leaves that a task stands on, as `<inventory key>:<leaf>`; empty if all it has is its own."""
    return {f"{key}:{name}": leaf for key, bank in standing(task) for name, leaf in bank.items()}


def kinds_of(task: nn.Module) -> dict[str, str]:
    """The group of each of them: `factors`, `norm`, or `statistics`, which are no parameters."""
    return {f"{key}:{name}": group for key, bank in standing(task) for name, group in groups_of_bank(bank).items()}


def statistics_of(task: nn.Module) -> dict[str, nn.Parameter]:
    """Those of them that are running statistics."""
    kinds = kinds_of(task)
    return {key: leaf for key, leaf in inventory_of(task).items() if kinds[key] == STATISTICS}

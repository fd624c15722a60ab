"""An additive update of one weight: a factorisation's leaves, shared as a rule says, seen as a view says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..factors import Bottleneck, Factorisation, Leaf
from ..routing import Private, Sharing
from ._where import View, Where, as_update, own_weight

Inventory = MutableMapping[str, nn.ParameterDict]


class WeightUpdate(nn.Module):
    """What one task adds to one view of one weight; holds the task's own leaves."""

    shared: tuple[str, nn.ParameterDict] | None
    """Key and leaves of the inventory it stands on: held in a tuple, not registered, since the model owns it."""

    def __init__(
        self,
        factorisation: Factorisation,
        rule: Sharing,
        view: View,
        like: Tensor,
        inventory: nn.ParameterDict | None,
        key: str,
    ) -> None:
        super().__init__()
        leaves = factorisation.leaves(view.modes)
        self.factorisation, self.rule, self.view = factorisation, rule, view
        self.own = make(rule.own(leaves), like)
        self.shared = None if inventory is None else (key, inventory)

    def leaves(self, dtype: torch.dtype) -> dict[str, Tensor]:
        inventory = {} if self.shared is None else dict(self.shared[1].items())
        chosen = self.rule.select(inventory, dict(self.own.items()))
        return {name: leaf.to(dtype) for name, leaf in chosen.items()}

    def bottleneck(self, dtype: torch.dtype) -> Bottleneck | None:
        return self.factorisation.bottleneck(self.leaves(dtype), self.view.modes)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """ΔW of the view, `[O, I, *kernel]`."""
        return self.factorisation.materialise(self.leaves(dtype), self.view.modes)

    def added_to(self, weight: Tensor) -> Tensor:
        """The whole weight with this update."""
        return weight + as_update(weight, self.view, self.dense(weight.dtype))


@dataclass(frozen=True)
class Update:
    """A recipe: factorisation × sharing × where."""

    factorisation: Factorisation
    where: Where
    sharing: Sharing = field(default_factory=Private)

    def fit(self, network: nn.Module, inventory: Inventory, prefix: str) -> Iterator[tuple[str, WeightUpdate]]:
        """A new task's update of every selected view; what is shared comes from `inventory`, made there at first.

        Raises:
            ValueError: nothing is selected, every rank is 0, or the inventory has other shapes.
        """
        found = 0
        for target in self.where.find(network):
            factorisation = self.factorisation.at(target.path)
            if factorisation is None:
                continue
            module = network.get_submodule(target.path)
            for view in target.views:
                found += 1
                path, _, name = view.parameter.rpartition(".")
                weight = own_weight(module.get_submodule(path), target.path, name)
                shared = self.sharing.inventory(factorisation.leaves(view.modes))
                key = f"{prefix}/{target.path}/{view.name}"
                bank = _joined(inventory, key, shared, weight) if shared else None
                yield target.path, WeightUpdate(factorisation, self.sharing, view, weight, bank, key)
        if not found:
            raise ValueError(f"rank={self.factorisation.rank!r} is 0 for every layer; give at least one layer a rank")


def make(leaves: Mapping[str, Leaf], like: Tensor) -> nn.ParameterDict:
    """Parameters for leaves, started; at least float32, since small steps are lost in half precision."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    made = nn.ParameterDict()
    for name, leaf in leaves.items():
        parameter = nn.Parameter(torch.empty(leaf.shape, dtype=dtype, device=like.device))
        leaf.start(parameter.data)
        made[name] = parameter
    made.__dict__["groups"] = {name: leaf.group for name, leaf in leaves.items()}
    return made


def _joined(inventory: Inventory, key: str, shared: dict[str, Leaf], like: Tensor) -> nn.ParameterDict:
    if key not in inventory:
        inventory[key] = make(shared, like)
    bank = inventory[key]
    for name, leaf in shared.items():
        if name not in bank or tuple(bank[name].shape) != leaf.shape:
            found = {n: tuple(p.shape) for n, p in bank.items()}
            raise ValueError(
                f"the model's inventory {key!r} holds {found}, but this task wants {name!r} of shape {leaf.shape}: "
                "tasks that share an inventory share its rank; leave the rank as it is, or use sharing='private'"
            )
    return bank


def inventory_of(task: nn.Module) -> dict[str, nn.Parameter]:
    """The shared leaves that a task stands on, as `<inventory key>:<leaf>`; empty if all it has is its own."""
    held = [m.shared for m in task.modules() if isinstance(m, WeightUpdate) and m.shared is not None]
    return {f"{key}:{name}": leaf for key, bank in held for name, leaf in bank.items()}

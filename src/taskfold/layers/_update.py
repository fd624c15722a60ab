"""An update of one weight: a factorisation's leaves, shared as a rule says, seen as a view says."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..factors import Bottleneck, Expansion, Factorisation
from ..routing import LOGITS, Private, Sharing
from ..tasks import Task
from ._standing import Inventory, Standing, check_bank, make
from ._where import View, Where, as_update, in_place, own_weight, part

Place = tuple[str, str]
"""A layer's path, and the name of an update there."""

Logits = MutableMapping[tuple[Sharing, str], nn.Parameter]


class WeightUpdate(Standing):
    """What one task adds to one view of one weight, or has there instead of it; holds the task's own leaves."""

    def __init__(
        self,
        factorisation: Factorisation,
        rule: Sharing,
        view: View,
        own: nn.ParameterDict,
        inventory: nn.ParameterDict | None,
        key: str,
    ) -> None:
        super().__init__(None if inventory is None else (key, inventory))
        self.factorisation, self.rule, self.view = factorisation, rule, view
        self.specs = factorisation.leaves(view.modes)
        self.own = own
        self.forked: nn.ParameterDict | None = None

    @property
    def replaces(self) -> bool:
        """Whether it is the weight, and not added to it."""
        return isinstance(self.factorisation, Expansion)

    @property
    def bank(self) -> nn.ParameterDict | None:
        """The inventory it mixes: the model's, or the task's own copy."""
        return self.forked if self.shared is None else self.shared[1]

    def fork(self) -> None:
        """Take a copy of the inventory and stand on that: what the task then learns moves no other task."""
        if self.shared is not None:
            (_, bank), self.shared = self.shared, None
            self.forked = copy.deepcopy(bank)

    def leaves(
        self, dtype: torch.dtype, own: Mapping[str, Tensor] | None = None, training: bool | None = None
    ) -> dict[str, Tensor]:
        """The leaves that the task uses; of several tasks, `[T, …]`, if `own` holds theirs stacked.

        `training` None: the module's mode, in which some rules draw.
        """
        drawing = self.training if training is None else training
        bank = {} if self.bank is None else {name: leaf.to(dtype) for name, leaf in self.bank.items()}
        mine = dict(self.own.items()) if own is None else own
        chosen = self.rule.select(bank, mine, self.specs, drawing)
        return {name: leaf.to(dtype) for name, leaf in chosen.items()}

    def bottleneck(self, dtype: torch.dtype, own: Mapping[str, Tensor] | None = None) -> Bottleneck | None:
        return self.factorisation.bottleneck(self.leaves(dtype, own), self.view.modes)

    def dense(self, dtype: torch.dtype, training: bool | None = None) -> Tensor:
        """ΔW of the view, or W itself, `[O, I, *kernel]`."""
        return self.factorisation.materialise(self.leaves(dtype, training=training), self.view.modes)

    def applied_to(self, weight: Tensor, training: bool | None = None) -> Tensor:
        """The whole weight with this update."""
        made = self.dense(weight.dtype, training)
        if self.replaces:
            return in_place(weight, self.view, made)
        return weight + as_update(weight, self.view, made)

    def like(self, other: WeightUpdate) -> bool:
        """Whether the other differs in nothing but the numbers of its own leaves."""
        return (
            self.factorisation == other.factorisation
            and self.rule == other.rule
            and self.view == other.view
            and self.bank is other.bank
        )


def bottlenecks(updates: Sequence[WeightUpdate | None], dtype: torch.dtype) -> Bottleneck | None:
    """The bottleneck of each task along a first axis, smaller ranks padded; None: that task adds nothing.

    Tasks that differ in their own leaves alone are made together, a bank of theirs mixed once. None if some have no
    such form, or not the same one.
    """
    first, *others = updates
    if first is not None and all(other is not None and first.like(other) for other in others):
        return first.bottleneck(dtype, stacked([update for update in updates if update is not None]))
    made = [update and update.bottleneck(dtype) for update in updates]
    found = [one for one in made if one is not None]
    if len(found) != sum(update is not None for update in updates):
        return None
    if len({(one.down.dim(), one.spatial is None) for one in found}) != 1:
        return None
    nothing = found[0].zeros()
    head, *tail = [one or nothing for one in made]
    return head.stack(tail)


def stacked(updates: Sequence[WeightUpdate]) -> dict[str, Tensor]:
    """Own leaves of tasks that are alike, `[T, …]`."""
    return {name: torch.stack([update.own[name] for update in updates]) for name in updates[0].own}


@dataclass(frozen=True)
class Update:
    """A recipe: factorisation × sharing × where.

    Raises:
        ValueError: an expansion, which begins at the layer's own weight, under a rule that mixes.
    """

    factorisation: Factorisation
    where: Where
    sharing: Sharing = field(default_factory=Private)

    def __post_init__(self) -> None:
        if isinstance(self.factorisation, Expansion) and not self.sharing.keeps_leaves:
            raise ValueError(
                f"sharing={self.sharing.name!r} mixes factors, and {type(self.factorisation).__name__} takes the place "
                "of a layer's weight, where it must begin; use 'private', 'shared' or 'diagonal'"
            )

    def fit(
        self, network: nn.Module, inventory: Inventory, prefix: str, logits: Logits
    ) -> Iterator[tuple[str, WeightUpdate]]:
        """A new task's update of every selected view; what is shared comes from `inventory`, made there at first.

        `logits` holds those of the task so far, by rule and scope.

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
                layer, key = layer_name(target.path, view), f"{prefix}/{target.path}/{view.name}"
                try:
                    leaves = factorisation.leaves(view.modes)
                    shared, mine = self.sharing.inventory(leaves), self.sharing.own(leaves)
                except ValueError as error:
                    raise ValueError(f"layer {layer!r}: {error}") from None
                values = None
                if isinstance(factorisation, Expansion) and not (shared and key in inventory):
                    values = _expanded(factorisation, view, weight)
                own, bank = make(mine, weight, values), None
                if shared:
                    bank = inventory[key] = inventory[key] if key in inventory else make(shared, weight, values)
                    check_bank(key, bank, {name: leaf.shape for name, leaf in shared.items()})
                if LOGITS in own:
                    own[LOGITS] = _tied(logits, (self.sharing, self.sharing.scope(layer)), own[LOGITS], layer)
                yield target.path, WeightUpdate(factorisation, self.sharing, view, own, bank, key)
        if not found:
            raise ValueError(f"the rank of {self.factorisation} is 0 for every layer; give at least one layer a rank")


@torch.no_grad()
def _expanded(expansion: Expansion, view: View, weight: Tensor) -> dict[str, Tensor]:
    """Leaves that make a layer's own weight."""
    own = part(weight, view).to(torch.promote_types(weight.dtype, torch.float32))
    return expansion.expand(own.reshape(view.modes.shape), view.modes)


def layer_name(path: str, view: View) -> str:
    """A layer's name for people: with the projection, where a weight is seen as several."""
    return path if view.name == "weight" else f"{path}:{view.name}"


def _tied(logits: Logits, scope: tuple[Sharing, str], own: nn.Parameter, layer: str) -> nn.Parameter:
    """The logits of that scope; the first layer that asks brings them."""
    found = logits.setdefault(scope, own)
    if found.shape != own.shape:
        raise ValueError(
            f"layer {layer!r} routes {tuple(own.shape)} and shares its logits with layers that route "
            f"{tuple(found.shape)}; give all layers the same rank, or choose granularity='layer'"
        )
    return found


def updates_of(task: Task) -> dict[str, WeightUpdate]:
    """The updates of a task, by layer name."""
    found: dict[str, WeightUpdate] = {}
    for path in task.sites:
        for update in task.sites[path].modules():
            if isinstance(update, WeightUpdate):
                found[layer_name(path, update.view)] = update
    return found

"""The components of a task's updates, the terms of each layer's sum: how many there are at first, and fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import cast

import torch
from torch import Tensor, nn

from ..factors import Ranked
from ..tasks import Task
from ._factored import Factored, layer_name
from ._part import LayerParts, parts_of
from ._stages import frozen
from ._update import Update


@dataclass(frozen=True)
class Components:
    """The rank-one components of one layer's update.

    Attributes:
        layer: its name; with the projection where a weight is seen as several.
        part: makes the update.
    """

    layer: str
    part: Factored

    @property
    def made(self) -> Ranked:
        """How they are summed."""
        return cast(Ranked, self.part.factorisation)

    @property
    def rank(self) -> int:
        """How many there are."""
        return self.made.size

    @property
    def cost(self) -> int:
        """Numbers of each."""
        return sum(leaf.numel() for leaf in self.part.own.values()) // self.rank

    def rows(self) -> list[Tensor]:
        """The leaves, one row for each component, `[r, numbers]`."""
        return [self._rows(name, leaf) for name, leaf in self.part.own.items()]

    def gradients(self) -> list[Tensor] | None:
        """The same of their gradients; None: there are none."""
        each = [(name, leaf.grad) for name, leaf in self.part.own.items()]
        return None if any(grad is None for _, grad in each) else [self._rows(n, g) for n, g in each if g is not None]

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Multiply each component with a number, `[r]`; zero makes it zero, and leaves it a gradient."""
        outputs = self.made.outputs(dict(self.part.own.items()))
        outputs.mul_(factors.to(outputs.dtype).reshape(-1, *(1 for _ in outputs.shape[1:])))

    @torch.no_grad()
    def align(self) -> None:
        """Make the components orthogonal to each other where that can be, so that none does what another does."""
        own = self.part.own
        for name, leaf in self.made.aligned(dict(own.items()), self.part.view.modes).items():
            own[name].copy_(leaf)

    def _rows(self, name: str, leaf: Tensor) -> Tensor:
        axis = self.part.specs[name].axes.index(self.made.component)
        return leaf.detach().movedim(axis, 0).flatten(1)


def components_of(task: Task) -> list[Components]:
    """The task's layers whose updates are sums of components of its own."""
    return [
        Components(layer_name(path, part.view), part)
        for (path, _), part in parts_of(task)
        if isinstance(part, Factored) and isinstance(part.factorisation, Ranked) and part.inventory is None
    ]


@torch.no_grad()
def keep_components(task: Task, kept: Mapping[str, Tensor]) -> None:
    """Make a task one that has only these components; a layer that keeps none is left alone.

    What the task answers stays what it was, but for rounding, where the others are zero.

    Args:
        task: the task.
        kept: numbers of the components by name of the layer; layers that are not named keep all.
    """
    layers = {path: parts for path, parts in task.sites._modules.items() if isinstance(parts, LayerParts)}
    for path, parts in layers.items():
        for name, part in list(parts):
            which = kept.get(layer_name(path, part.view)) if isinstance(part, Factored) else None
            if which is None or not isinstance(part, Factored) or not isinstance(part.factorisation, Ranked):
                continue
            if not len(which):
                del parts._modules[name]
                continue
            made, own = part.factorisation, part.own
            leaves = made.kept(dict(own.items()), part.view.modes, which)
            part.factorisation = replace(made, rank=len(which))
            part.specs = part.factorisation.leaves(part.view.modes)
            for key, leaf in leaves.items():
                own._parameters[key] = nn.Parameter(leaf.contiguous(), own[key].requires_grad)
        if not len(parts):
            del task.sites[path]


def at_first(
    updates: Sequence[Update], network: nn.Module, budget: float, headroom: float, frozen_stages: int = 0
) -> list[Update]:
    """Updates whose ranks are left to the training, with the rank that every layer has before it.

    Args:
        updates: of `Ranked` factorisations.
        network: the backbone.
        budget: numbers that remain of all of them, or, below 1, their share of the network's.
        headroom: how many times the budget they are at first, at the least.
        frozen_stages: the first stages of the network have none.

    Raises:
        ValueError: no component of any layer is as small as the budget, or the budget has room for whole weights.
    """
    before, costs, whole = frozen(network, frozen_stages), [], 0
    for update in updates:
        one = replace(cast(Ranked, update.factorisation), rank=1)
        for target in update.where.find(network):
            for view in target.views if target.path not in before else ():
                costs.append(sum(torch.Size(leaf.shape).numel() for leaf in one.leaves(view.modes).values()))
                whole += torch.Size(view.modes.shape).numel()
    numbers = numbers_of(budget, network)
    if not costs:
        return list(updates)  # fitting says what is amiss
    if numbers < min(costs):
        raise ValueError(
            f"budget={budget} is {numbers:,} numbers on {type(network).__name__}, and one component of any of its "
            f"layers has {min(costs):,} or more; raise it"
        )
    if numbers > whole:
        raise ValueError(
            f"budget={budget} is {numbers:,} numbers on {type(network).__name__}, more than the {whole:,} of the "
            "weights that are adapted; lower it, or choose FineTuning"
        )
    rank = max(1, ceil(headroom * numbers / sum(costs)))
    return [replace(one, factorisation=replace(cast(Ranked, one.factorisation), rank=rank)) for one in updates]


def numbers_of(budget: float, network: nn.Module) -> int:
    """A budget in numbers: as it is, or, below 1, that share of the network's."""
    return int(budget if budget >= 1 else budget * sum(parameter.numel() for parameter in network.parameters()))

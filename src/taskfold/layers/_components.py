"""Rank-one components of a task's updates: initial ranks from a budget, and pruning."""

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
        layer: the layer's name, with the projection if the weight has several views.
        part: the part that makes the update.
    """

    layer: str
    part: Factored

    @property
    def made(self) -> Ranked:
        """The factorisation."""
        return cast(Ranked, self.part.factorisation)

    @property
    def rank(self) -> int:
        return self.made.size

    @property
    def cost(self) -> int:
        """The numbers of each component."""
        return sum(leaf.numel() for leaf in self.part.own.values()) // self.rank

    def rows(self) -> list[Tensor]:
        """The leaves, one row for each component, `[r, numbers]`."""
        return [self._rows(name, leaf) for name, leaf in self.part.own.items()]

    def gradients(self) -> list[Tensor] | None:
        """The leaves' gradients, as `rows`; None: a leaf has no gradient."""
        each = [(name, leaf.grad) for name, leaf in self.part.own.items()]
        return None if any(grad is None for _, grad in each) else [self._rows(n, g) for n, g in each if g is not None]

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Multiplies each component by a factor, `[r]`; a component scaled by zero still gets a gradient."""
        outputs = self.made.outputs(dict(self.part.own.items()))
        outputs.mul_(factors.to(outputs.dtype).reshape(-1, *(1 for _ in outputs.shape[1:])))

    @torch.no_grad()
    def align(self) -> None:
        """Makes the components orthogonal to each other, if the factorisation supports it."""
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
    """Reduces a task to some of its components; a layer that keeps none is no longer adapted.

    If the dropped components are zero, the task's outputs change by rounding alone.

    Args:
        task: the task.
        kept: indices of the kept components by layer name; layers that are not named keep all.
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
    """Updates with the rank that every layer starts with, before training prunes them to a budget.

    Args:
        updates: of `Ranked` factorisations.
        network: the backbone.
        budget: numbers of all updates after training; below 1: a share of the network's numbers.
        headroom: the least ratio of the initial numbers to the budget.
        frozen_stages: number of stages without updates.

    Raises:
        ValueError: the budget is below the smallest component, or above the numbers of the whole weights.
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
        return list(updates)  # `fit` raises the error
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
    """A budget in numbers; a budget below 1 is a share of the network's numbers."""
    return int(budget if budget >= 1 else budget * sum(parameter.numel() for parameter in network.parameters()))

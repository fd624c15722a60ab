from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..factors import Mask, check_number
from ..kinds import Patterns
from ..layers import Composition, Convolutions, Multiplied, Statistics, Update, multipliers_of, own_norms, updates_of
from ..tasks import Task
from ._base import Method

__all__ = ["BA2"]


@dataclass(frozen=True)
class BA2(Method):
    """Budget-aware adapters: a switch for each filter and input channel, W_t[o, i] = s[o, i] W[o, i].

    Berriel et al., "Budget-Aware Adapters for Multi-Domain Learning", section 3. On every convolution. s = 1[s̃ > 0];
    the numbers s̃ train as if s were s̃, and start at 1e-3, so that a new task is the backbone exactly. At most a share
    β of the switches is to be on: the loss has λ (mean s − β) added, with a multiplier that after each step is
    λ ← max(0, λ + η (mean s − β)).

    Args:
        budget: β, above 0 and up to 1. 1: no constraint.
        multiplier_rate: η > 0.
        targets: shell patterns over names of convolutions; `!pattern` leaves some out.
        norm: every task has its own γ and β of normalisation.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no convolutions.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        >>> tfold.count(net, tfold.BA2()).per_task  # 3 · 8 switches
        {'factors': 0, 'norm': 16, 'head': 0, 'bits': 24}
    """

    budget: float = 1.0
    multiplier_rate: float = 1.0
    targets: Patterns = "*"
    norm: bool = True
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "ba2"

    @property
    def parts(self) -> tuple[Update]:
        check_number("budget", self.budget, "above 0 and up to 1", lambda budget: 0 < budget <= 1)
        check_number("multiplier_rate", self.multiplier_rate, "above 0", lambda rate: rate > 0)
        recipe = Multiplied if self.budget < 1 else Update
        mask = Mask(threshold=0.0, start=1e-3, granularity="pair")
        return (recipe(mask, Convolutions(self.targets, stem=True)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics)))

    def penalty(self, task: Task, progress: float) -> Tensor | None:
        if self.budget == 1:
            return None
        return multipliers_of(task)[0] * (_share_on(task) - self.budget)

    @torch.no_grad()
    def stepped(self, task: Task) -> None:
        if self.budget < 1 and any(part.own["mask"].grad is not None for part in updates_of(task).values()):
            over = _share_on(task) - self.budget
            for multiplier in multipliers_of(task):
                multiplier.add_(self.multiplier_rate * over).clamp_(min=0)

    @torch.no_grad()
    def over_budget(self, task: Task) -> float:
        return max(0.0, float(_share_on(task)) - self.budget)


def _share_on(task: Task) -> Tensor:
    """The share of a task's switches that are on; with gradient."""
    each = []
    for part in updates_of(task).values():
        assert isinstance(part.factorisation, Mask)
        each.append(part.factorisation.levels(dict(part.own.items())))
    return torch.stack([one.sum() for one in each]).sum() / sum(one.numel() for one in each)

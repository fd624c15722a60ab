from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..factors import Gated, check_number
from ..kinds import Patterns
from ..layers import Composition, Statistics, Update, Weights, own_norms, updates_of
from ..tasks import Task
from ._base import Method

__all__ = ["TAPS"]


@dataclass(frozen=True)
class TAPS(Method):
    """Task-adaptive parameter sharing: the training chooses the layers that a task changes, W_t = W + 1[s ≥ 0.1] δ.

    Wallingford et al., "Task Adaptive Parameter Sharing for Multi-Task Learning", section 3. One score s for each
    convolution and linear layer (a language model's output layer is left out), which starts at 0.15, and δ at 0, so
    that a new task is the backbone exactly. The loss has `λ · mean |s|` added. A layer whose score falls below 0.1 is
    the backbone's, and files hold no δ for it.

    Args:
        strength: λ ≥ 0.
        begin: the share of the training before the penalty begins, from 0 to below 1.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        norm: every task has its own γ and β of normalisation.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no such layers.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        >>> tfold.count(net, tfold.TAPS()).per_task  # the most: all layers change
        {'factors': 216, 'norm': 16, 'head': 0, 'score': 1}
    """

    strength: float = 0.1
    begin: float = 0.1
    targets: Patterns = "*"
    norm: bool = True
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "taps"

    @property
    def parts(self) -> tuple[Update]:
        check_number("strength", self.strength, "0 or more", lambda strength: strength >= 0)
        check_number("begin", self.begin, "from 0 to below 1", lambda begin: 0 <= begin < 1)
        return (Update(Gated(), Weights(self.targets)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics)))

    def penalty(self, task: Task, progress: float) -> Tensor | None:
        if progress < self.begin or not self.strength:
            return None
        scores = [part.own["score"].abs().mean() for part in updates_of(task).values()]
        return self.strength * torch.stack(scores).mean()

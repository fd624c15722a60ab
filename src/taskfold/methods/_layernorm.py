from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..layers import Composition, LayerNorms
from ._base import Method

__all__ = ["LayerNormTuning"]


@dataclass(frozen=True)
class LayerNormTuning(Method):
    """A task trains γ and β of LayerNorm, RMSNorm and GroupNorm; everything else is the backbone's, even BatchNorm.

    Zhao et al., "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", section 3.

    Raises:
        ValueError: when a task is added, the network has no such layers.

    Example:
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.Flatten(), nn.RMSNorm(8))
        >>> tfold.MultiTask(net, tfold.LayerNormTuning()).add_task("one").counts()
        {'factors': 0, 'routing': 0, 'norm': 24, 'head': 0}
    """

    name: ClassVar[str] = "layernorm"

    def compose(self, network: nn.Module) -> Composition:
        return Composition((LayerNorms(),))

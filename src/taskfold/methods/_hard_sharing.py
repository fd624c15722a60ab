from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..layers import Composition, Rest
from ._base import Method

__all__ = ["HardSharing"]


@dataclass(frozen=True)
class HardSharing(Method):
    """Hard parameter sharing: all tasks train one common copy of the network, each with its own head.

    Plain multi-task learning (Caruana 1997), the baseline of over-parameterised training. The common copy is in
    the model's inventory; the backbone does not change.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.HardSharing(), num_features=8)
        >>> model.add_task("flowers", head=5).counts()["factors"], sum(p.numel() for p in net.parameters())
        (0, 240)
    """

    name: ClassVar[str] = "hard-sharing"

    def compose(self, network: nn.Module) -> Composition:
        return Composition((Rest(),))

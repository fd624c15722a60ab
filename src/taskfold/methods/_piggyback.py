from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..factors import Mask
from ..kinds import Patterns
from ..layers import Composition, Statistics, Update, Weights, own_norms
from ._base import Method

__all__ = ["Piggyback"]


@dataclass(frozen=True)
class Piggyback(Method):
    """A binary mask on the network's weights: W_t = W ⊙ M, one bit for each weight.

    Mallya, Davis and Lazebnik, "Piggyback: Adapting a Single Network to Multiple Tasks by Learning to Mask Weights",
    sections 3.1 and 3.2. M = 1[m > τ]; the scores m train as if M were m, ∂L/∂m = ∂L/∂W_t ⊙ W, and start at 1e-2
    everywhere, so that a new task is the backbone exactly. On every convolution, the first one too, and every linear
    layer but a language model's output layer; the projections of `nn.MultiheadAttention` are not masked. Files
    and banks hold M as bits, and no scores.

    Args:
        threshold: τ, 0 ≤ τ < 1e-2, where scores start.
        ternary: M may also be −1, where m < 0; two bits for each weight.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        norm: each task also trains its own normalisation, which the paper keeps frozen.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no such layers.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.Piggyback(), num_features=8)
        >>> model.add_task("flowers", head=5).counts()["mask"]  # scores while it trains, bits in its file
        216
    """

    threshold: float = 5e-3
    ternary: bool = False
    targets: Patterns = "*"
    norm: bool = False
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "piggyback"

    @property
    def parts(self) -> tuple[Update]:
        return (Update(Mask(self.threshold, ternary=self.ternary), Weights(self.targets)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics)))

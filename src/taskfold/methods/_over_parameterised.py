from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..factors import SVD, LinearExpansion, Rank
from ..kinds import Patterns
from ..layers import Composition, ConvolutionBranches, Rest, Update, Weights
from ..routing import Diagonal, Shared
from ._base import Method

__all__ = ["ExpandNet", "OverParameterised", "RepVGG"]


@dataclass(frozen=True)
class OverParameterised(Method):
    """Deep over-parameterised multi-task learning: every layer is U diag(m_t) V in training, and one weight after it.

    "Learning Compact Neural Networks with Deep Overparameterised Multitask Learning", sections 2.1 and 2.2. U and V are
    common to all tasks, m_t is a task's own; biases, normalisation and all else are common, running statistics a
    task's own, since its features are. Training starts at the network's own weights: exactly, at full rank. `fold`
    contracts a task to the plain network.

    Args:
        rank: the rank of every layer, or `{layer pattern: rank}`; None: full, as are larger ranks.
        diagonals: the number of a task's diagonals in each layer, multiplied with one another.
        targets: shell patterns over layer names; `!pattern` leaves layers out, which then are common and plain.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.OverParameterised(), num_features=8)
        >>> model.add_task("flowers", head=5).counts()["diagonal"]  # full rank: min(3 · 3, 8 · 3)
        9
    """

    rank: Rank | None = None
    diagonals: int = 1
    targets: Patterns = "*"
    name: ClassVar[str] = "over-parameterised"

    @property
    def parts(self) -> tuple[Update]:
        return (Update(SVD(self.rank), Weights(self.targets), Diagonal(self.diagonals)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, Rest(statistics="own")))


@dataclass(frozen=True)
class ExpandNet(Method):
    """Every layer is three linear ones in training, 1×1, k×k and 1×1, and one after it; common to all tasks.

    Guo, Alvarez and Salzmann, "ExpandNets: Linear Over-parameterization to Train Compact Convolutional Networks",
    section 3.1. Training starts at the network's own weights.

    Args:
        rate: how many times wider the layers in the middle are, ≥ 1.
        targets: shell patterns over layer names; `!pattern` leaves layers out, which then are common and plain.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a convolution with groups.
    """

    rate: float = 4.0
    targets: Patterns = "*"
    name: ClassVar[str] = "expandnet"

    @property
    def parts(self) -> tuple[Update]:
        return (Update(LinearExpansion(self.rate), Weights(self.targets), Shared()),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, Rest()))


@dataclass(frozen=True)
class RepVGG(Method):
    """Every convolution is three normalised branches in training, k×k, 1×1 and identity, and one after it.

    Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", section 3.3; common to all tasks. The layers'
    own normalisation remains. `fold` gives the plain network, whose convolutions then have a bias.

    Args:
        targets: shell patterns over names of convolutions with odd kernels larger than 1×1; `!pattern` leaves some out.

    Raises:
        ValueError: when a task is added, no such convolution.
    """

    targets: Patterns = "*"
    name: ClassVar[str] = "repvgg"

    def compose(self, network: nn.Module) -> Composition:
        return Composition((ConvolutionBranches(self.targets), Rest()))

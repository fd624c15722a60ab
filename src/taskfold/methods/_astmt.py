from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..factors import Centre
from ..kinds import Patterns
from ..layers import Composition, Recipe, SecondConvolutions, SqueezeExcites, Statistics, Update, own_norms
from ._base import Method

__all__ = ["ASTMT"]


@dataclass(frozen=True)
class ASTMT(Method):
    """Attentive single-tasking: a 1×1 convolution beside the second convolution of every residual block, and gates.

    Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of Multiple Tasks", sections 3.1 and 3.2. Behind the
    last normalisation of a block, before it is added, a squeeze-and-excite of the task's own scales channels:
    y · 2σ(W₂ relu(W₁ avg y + b₁) + b₂). W₂ and b₂ start at 0, so that a new task is the backbone exactly.

    Args:
        targets: shell patterns over names of second convolutions; `!pattern` leaves blocks out.
        squeeze_excite: gates in every block (True) or in none (False). None: in bottleneck blocks (ResNet-50), and not
            in basic ones (ResNet-18), as in the tables. Tasks with gates do not fold.
        reduction: the reduction in squeeze-and-excite: C // reduction channels in the middle, at least one.
        norm: every task has its own γ and β of normalisation.
        statistics: as for `FTN`.
        adversary: the authors' discriminator of tasks. It acts on what tasks train in common, and is refused here,
            where the backbone is frozen.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no residual blocks.
        TypeError: when a task is added, a second convolution whose padding is not dilation · (k − 1) / 2.

    Example:
        >>> import torch, torchvision
        >>> import taskfold as tfold
        >>> with torch.device("meta"):
        ...     network = torchvision.models.resnet18()
        >>> tfold.count(network, tfold.ASTMT()).per_task["factors"]  # 2 · (64² + 128² + 256² + 512²)
        696320
    """

    targets: Patterns = "*"
    squeeze_excite: bool | None = None
    reduction: int = 16
    norm: bool = True
    statistics: Statistics = "backbone"
    adversary: bool = False
    name: ClassVar[str] = "astmt"

    @property
    def parts(self) -> tuple[Recipe, ...]:
        if not (self.squeeze_excite is None or isinstance(self.squeeze_excite, bool)):
            raise ValueError(f"squeeze_excite must be true, false or none, found {self.squeeze_excite!r}")
        if self.adversary:
            raise ValueError(
                "adversary=True trains what tasks have in common to hide which task it works for, and the backbone is "
                "frozen, so that it would act on nothing; leave it out"
            )
        gates = SqueezeExcites(self.targets, self.reduction, bottlenecks=self.squeeze_excite is None)
        beside = Update(Centre(), SecondConvolutions(self.targets))
        return (beside,) if self.squeeze_excite is False else (beside, gates)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics)))

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..kinds import Patterns
from ..layers import Composition, ScaleInit, Scales
from ..routing import sharing
from ._base import Method

__all__ = ["SSF"]


@dataclass(frozen=True)
class SSF(Method):
    """Scaling and shifting: y ⊙ γ_t + β_t behind every linear layer, convolution and normalisation.

    Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", section 3.2.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        init: `exact` starts at the backbone, with γ = 1 and β = 0; `authors` near it, with N(1, 0.02) and N(0, 0.02).
        sharing: `private`; `shared`, one γ and β for all tasks; `poly` or `mhr`, which mix those of an inventory.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, bias=False))
        >>> model = tfold.MultiTask(net, tfold.SSF())
        >>> model.add_task("one").counts()
        {'factors': 0, 'routing': 0, 'norm': 0, 'head': 0, 'scale': 40}
        >>> model.fold("one")[3].bias.shape  # a layer without a bias has one when it is folded
        torch.Size([4])
    """

    targets: Patterns = "*"
    init: ScaleInit = "exact"
    sharing: str | Mapping[str, Any] = "private"
    name: ClassVar[str] = "ssf"

    @property
    def parts(self) -> tuple[Scales]:
        return (Scales(self.targets, self.init, sharing(self.sharing)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(self.parts)

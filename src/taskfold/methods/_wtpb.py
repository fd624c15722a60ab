from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import nn

from ..factors import Mask
from ..kinds import Patterns
from ..layers import Composition, Statistics, Update, Weights, own_norms
from ._base import Method

__all__ = ["WTPB"]

Form = Literal["simple", "full"]
TERMS: dict[str, tuple[int, ...]] = {"simple": (1, 2), "full": (1, 2, 3)}


@dataclass(frozen=True)
class WTPB(Method):
    """Weights transformed by a binary mask and a few scalars: W_t = k₀ W + k₁ 1 + k₂ M + k₃ W ⊙ M.

    Mancini et al., "Adding New Tasks to a Single Network with Weight Transformations using Binary Masks" (`simple`),
    and "Boosting Binary Masks for Multi-Domain Learning through Affine Transformations" (`full`). M = 1[m > 0]; scores
    train as if M were m. k₁, k₂ (and k₃) of every layer start at 0, so that a new task is the backbone exactly.

    Args:
        form: `simple`, k₃ = 0; `full`.
        free_scale: k₀, which is 1, trains too: for networks whose layers no BatchNorm follows.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        norm: every task has its own γ and β of normalisation.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no such layers.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        >>> tfold.count(net, tfold.WTPB()).per_task
        {'factors': 0, 'norm': 16, 'head': 0, 'scalars': 2, 'bits': 216}
    """

    form: Form = "simple"
    free_scale: bool = False
    targets: Patterns = "*"
    norm: bool = True
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "wtpb"

    @property
    def parts(self) -> tuple[Update]:
        if self.form not in get_args(Form):
            raise ValueError(f"form={self.form!r} is not known; choose one of {', '.join(get_args(Form))}")
        free = (0,) * self.free_scale + TERMS[self.form]
        mask = Mask(threshold=0.0, start=1e-4, spread=1e-4, scalars=(1.0, 0.0, 0.0, 0.0), free=free)
        return (Update(mask, Weights(self.targets)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics)))

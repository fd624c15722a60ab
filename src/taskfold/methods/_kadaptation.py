from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import nn

from ..factors import Kronecker
from ..kinds import Patterns
from ..layers import AddedBiases, Attention, Composition, Update
from ._base import Method

__all__ = ["KAdaptation"]

KAdaptationInit = Literal["zero", "authors"]


@dataclass(frozen=True)
class KAdaptation(Method):
    """Kronecker adaptation of attention: y = x W + s x H + b, H = Σᵢ Aᵢ ⊗ (uᵢ vᵢᵀ), the Aᵢ common to all layers.

    He, Li, Zhang, Yang and Wang, "Parameter-efficient Model Adaptation for Vision Transformers", section 4. On query
    and value of each attention block; Aᵢ = aᵢ cᵢᵀ is t × t, one set for all queries and one for all values of a task; b
    is common to query and value of a block. u is Glorot-uniform and v = b = 0, so that a new task is the backbone
    exactly.

    Args:
        terms: t ≥ 1, of the sum, and the size of each Aᵢ; it divides the widths of the projections.
        scale: s > 0; 128 / 4 · 5 in the authors' code.
        bias: whether there is b.
        init: `zero`, or `authors`: u = v = 0, from where nothing but b ever moves.
        targets: shell patterns over layer names; `!pattern` leaves layers out.

    Raises:
        ValueError: a setting is out of its range; when a task is added, t does not divide a width, query and value have
            different widths, or the network has no known attention.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = tfold.MultiTask(net, tfold.KAdaptation(terms=4), num_features=16)
        >>> {group: count for group, count in model.add_task("sums").counts().items() if count}  # 2·2·16 + 4·4·4, 16
        {'factors': 128, 'bias': 16}
    """

    terms: int = 32
    scale: float = 160.0
    bias: bool = True
    init: KAdaptationInit = "zero"
    targets: Patterns = "*"
    name: ClassVar[str] = "kadaptation"

    @property
    def parts(self) -> tuple[Update, ...]:
        if self.init not in get_args(KAdaptationInit):
            raise ValueError(f"init={self.init!r} is not known; choose one of {', '.join(get_args(KAdaptationInit))}")
        start = "zero" if self.init == "zero" else "none"
        return tuple(
            Update(
                Kronecker(
                    self.terms,
                    slow_rank=1,
                    scale=self.scale,
                    scope="model",
                    tie=name,
                    init=start,
                    slow_init=("uniform", 0.01),
                ),
                Attention(self.targets, projections=(name,)),
            )
            for name in ("query", "value")
        )

    def compose(self, network: nn.Module) -> Composition:
        biases = (AddedBiases(Attention(self.targets)),) if self.bias else ()
        return Composition((*biases, *self.parts))

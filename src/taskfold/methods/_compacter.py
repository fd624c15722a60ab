from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import nn

from ..factors import Kronecker
from ..interventions import Activation, Adapter
from ..kinds import Patterns
from ..layers import Adapters, Composition, Statistics, own_norms
from ..routing import sharing
from ._base import Method
from ._bottleneck_adapter import Places, behind

__all__ = ["Compacter", "CompacterPlusPlus"]

Slow = Literal["own", "common"]
CompacterInit = Literal["zero", "t-few", "authors"]
SELF = ("*", "!*EncDecAttention*", "!*encoder_attn*", "!*crossattention*", "!*multihead_attn*")
"""Patterns of all attention but cross-attention, by the names in T5, BART, BERT with GPT-2 and torch."""


@dataclass(frozen=True)
class Compacter(Method):
    """Bottleneck adapters whose matrices are sums of Kronecker products, and own normalisation.

    Mahabadi, Henderson and Ruder, "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers", section 4: each matrix
    is Σ_i A_i ⊗ (s_i t_iᵀ), with n terms and A_i n × n. The non-linearity keeps a task from folding.

    Args:
        width: r ≥ 1, channels of the bottleneck, a multiple of `terms`.
        terms: n ≥ 1, which divides the channels of the layers too.
        rank: the rank of s_i t_iᵀ, ≥ 1.
        places: behind which sublayers, as for `BottleneckAdapter`.
        slow: the scope of the A_i: each matrix has its `own`, or the whole network has one `common` set.
        activation: σ: `relu`, `gelu`, `silu` or `tanh`.
        scale: factor on an adapter's output.
        init: `zero` (t of W_up is zero: a new task is the backbone, bit for bit), or near it: `t-few` (s and t Glorot
            with a gain of √2, A_i N(0, 0.02)) or `authors` (the same with A_i N(0, 1e-4)).
        targets: shell patterns over the names of these layers; `!pattern` leaves layers out. By default
            cross-attention has none.
        norm: every task has its own normalisation.
        sharing: `private` (a task's own adapters) or `shared`.
        statistics: as for `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a network without such sublayers, or with
            channels that n does not divide.

    Example:
        >>> import taskfold as tfold
        >>> net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        >>> model = tfold.MultiTask(net, tfold.CompacterPlusPlus(width=8))
        >>> model.add_task("flowers").counts()  # 2 · (4³ + 16 + 8) + 8 + 16; γ and β of two LayerNorms
        {'factors': 200, 'routing': 0, 'norm': 64, 'head': 0}
    """

    width: int = 64
    terms: int = 4
    rank: int = 1
    places: Places = "houlsby"
    slow: Slow = "own"
    activation: Activation = "relu"
    scale: float = 1.0
    init: CompacterInit = "zero"
    targets: Patterns = SELF
    norm: bool = True
    sharing: str | Mapping[str, Any] = "private"
    statistics: Statistics | None = None
    name: ClassVar[str] = "compacter"

    @property
    def parts(self) -> tuple[Adapters, ...]:
        for setting, known in (("slow", get_args(Slow)), ("init", get_args(CompacterInit))):
            if (value := getattr(self, setting)) not in known:
                raise ValueError(f"{setting}={value!r} is not known; choose one of {', '.join(known)}")
        scope = "model" if self.slow == "common" else "layer"
        spread = 1e-4 if self.init == "authors" else 0.02
        matrices = Kronecker(self.terms, rank=self.rank, scope=scope, slow_init=("normal", spread))
        if isinstance(self.width, int) and self.width % self.terms:
            raise ValueError(f"width must be a multiple of terms={self.terms}, found {self.width}")
        adapter, start = Adapter(self.activation, self.scale), "zero" if self.init == "zero" else "authors"
        return tuple(
            Adapters(where, adapter, self.width, start, sharing(self.sharing), matrices)
            for where in behind(self.places, self.targets)
        )

    def compose(self, network: nn.Module) -> Composition:
        return Composition((*self.parts, *own_norms(self.norm, self.statistics, sharing(self.sharing))))


@dataclass(frozen=True)
class CompacterPlusPlus(Compacter):
    """Compacter behind feed-forward blocks alone.

    Settings are those of `Compacter`; `places` is `feed-forward`.
    """

    places: Places = "feed-forward"
    name: ClassVar[str] = "compacter++"

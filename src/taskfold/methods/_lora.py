from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import nn

from ..factors import Init, LowRank, Rank
from ..layers import Attention, Composition, Convolutions, Linears, Norms, Patterns, Update, Where
from ..routing import Sharing, sharing
from ._base import Method

Layers = Literal["auto", "attention", "linear", "convolution", "all"]


@dataclass(frozen=True)
class LoRA(Method):
    """Low-rank adaptation: W_t = W + (α/r) A Bᵀ; on convolutions k×k to r channels, then 1×1.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.

    Args:
        rank: r ≥ 1, or `{layer pattern: rank}`.
        alpha: the update is scaled by alpha / rank; None: by 1.
        init: `zero` (A zero, B random), `xavier` or `normal`.
        layers: `attention` (query and value), `linear`, `convolution` (all but the stem), `all` (linear and
            convolution), or `auto`: attention if the network has any, else convolutions, else linear layers.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        norm: own normalisation.
        sharing: `private` or `shared`.

    Raises:
        ValueError: `layers` is not one of these.
    """

    rank: Rank = 8
    alpha: float | None = None
    init: Init = "zero"
    layers: Layers = "auto"
    targets: Patterns = "*"
    norm: bool = False
    sharing: str = "private"
    name: ClassVar[str] = "lora"

    @property
    def parts(self) -> tuple[LowRank, Sharing]:
        if self.layers not in get_args(Layers):
            raise ValueError(f"layers={self.layers!r} is not known; choose one of {', '.join(get_args(Layers))}")
        return LowRank(self.rank, self.alpha, self.init), sharing(self.sharing)

    def compose(self, network: nn.Module) -> Composition:
        factorisation, rule = self.parts
        updates = tuple(Update(factorisation, where, rule) for where in self._where(network))
        return Composition(updates, (Norms(),) if self.norm else ())

    def _where(self, network: nn.Module) -> list[Where]:
        kinds: dict[str, Where] = {
            "attention": Attention(self.targets),
            "convolution": Convolutions(self.targets),
            "linear": Linears(self.targets),
        }
        present = {name: where for name, where in kinds.items() if where.candidates(network)}
        if self.layers == "auto":
            return list(present.values())[:1] or [kinds["linear"]]
        if self.layers == "all":
            return [where for name, where in present.items() if name != "attention"] or [kinds["linear"]]
        return [kinds[self.layers]]

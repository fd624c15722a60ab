from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..factors import Alpha, Entangled, Init, LowRank
from ..routing import Sharing, sharing
from ._budgeted import AnyRank, Budgeted
from ._layerwise import Layerwise

__all__ = ["LoRA", "TLoRA"]


@dataclass(frozen=True)
class LoRA(Budgeted, Layerwise):
    """Low-rank adaptation: W_t = W + (α/r) A Bᵀ; on convolutions k×k to r channels, then 1×1.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.

    Args:
        rank: r ≥ 1, `{layer pattern: rank}`, or `auto`: by a `budget` (see `Budgeted`).
        alpha: the update is scaled by alpha / rank; None: by 1. Or `{layer pattern: alpha}`.
        init: `zero` (A zero, B random), `xavier` or `normal`.
        layers, targets, norm: see `Layerwise`.
        sharing: `private`, `shared`, or a routed rule: `poly`, `{"name": "mhr", "splits": 8}`, ….

    Raises:
        ValueError: a setting is out of its range.
    """

    rank: AnyRank = 8
    alpha: Alpha = None
    init: Init = "zero"
    sharing: str | Mapping[str, Any] = "private"
    name: ClassVar[str] = "lora"

    def update(self) -> tuple[LowRank, Sharing]:
        return LowRank(self.first_rank, self.alpha, self.init), sharing(self.sharing)


@dataclass(frozen=True)
class TLoRA(Budgeted, Layerwise):
    """LoRA whose two thin matrices are entangled tensors: N r R (q_out + q_in) numbers per layer, q = ⌈d^(1/N)⌉.

    Su et al., "Mixture of Latent Experts Using Tensor Products", section 4.1. On convolutions d_in is I·k².

    Args:
        rank: r ≥ 1, `{layer pattern: rank}`, or `auto`: by a `budget` (see `Budgeted`).
        tensor_rank: R ≥ 1, the number of summed products.
        order: N, the number of factors of a product, 1 to 20.
        alpha: scale alpha / rank; the paper's is 1 / rank.
        init: `zero` starts exactly at the backbone; `xavier`, `normal`.
        product_norm: normalise each product, as the authors' code does.
        layers, targets, norm: see `Layerwise`.
        sharing: as for `LoRA`.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(2048, 5120)), tfold.TLoRA(rank=16))
        >>> model.add_task("sums").counts()["factors"]  # 2 · 16 · 1 · (72 + 46)
        3776
    """

    rank: AnyRank = 16
    tensor_rank: int = 1
    order: int = 2
    alpha: float | None = 1.0
    init: Init = "zero"
    product_norm: bool = False
    sharing: str | Mapping[str, Any] = "private"
    name: ClassVar[str] = "tlora"

    def update(self) -> tuple[Entangled, Sharing]:
        if self.is_auto and self.product_norm:
            raise ValueError("rank='auto' prunes columns, which product_norm=True ties to one another; leave one out")
        entangled = Entangled(self.first_rank, self.alpha, self.init, self.tensor_rank, self.order, self.product_norm)
        return entangled, sharing(self.sharing)

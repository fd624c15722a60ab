from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..factors import Entangled, Init, Rank
from ..routing import Allocation, Granularity, OrderRouting, Routed, Sharing, TermRouting
from ._layerwise import Layerwise

__all__ = ["TensorPolyI", "TensorPolyII"]


@dataclass(frozen=True)
class TensorPolyI(Layerwise):
    """TLoRA whose R products are experts, which a task weights: A_t = Σ_k α_k ⊗_i A[i,k], and B with the same α.

    Su et al., "Mixture of Latent Experts Using Tensor Products", section 4.2.

    Args:
        rank: r ≥ 1, or `{layer pattern: rank}`.
        tensor_rank: R ≥ 2, experts of each layer.
        order: N, the number of factors of a product, 1 to 20.
        alpha: scale alpha / rank.
        init, product_norm: as for `TLoRA`.
        allocation, granularity: as for `Poly`.
        layers, targets, norm: see `Layerwise`.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(2048, 2048)), tfold.TensorPolyI(rank=16, tensor_rank=20))
        >>> model.add_task("sums").counts()["routing"]  # all that a new task has to learn on this layer
        20
    """

    rank: Rank = 16
    tensor_rank: int = 8
    order: int = 2
    alpha: float | None = 1.0
    init: Init = "zero"
    product_norm: bool = False
    allocation: Allocation = "sigmoid"
    granularity: Granularity = "layer"
    name: ClassVar[str] = "tensorpoly-i"
    rule: ClassVar[type[Routed]] = TermRouting

    def update(self) -> tuple[Entangled, Sharing]:
        if self.tensor_rank == 1:
            raise ValueError("tensor_rank must be ≥ 2, found 1: a task weighs its products; with one, use TLoRA")
        entangled = Entangled(self.rank, self.alpha, self.init, self.tensor_rank, self.order, self.product_norm)
        return entangled, self.rule(self.allocation, self.granularity)


@dataclass(frozen=True)
class TensorPolyII(TensorPolyI):
    """TensorPoly with finer routing: each order's factors are mixed, then multiplied, A_t = ⊗_i Σ_k α[i,k] A[i,k].

    Su et al., section 4.2; α is normalised over k for each order, as in the authors' code.
    """

    name: ClassVar[str] = "tensorpoly-ii"
    rule: ClassVar[type[Routed]] = OrderRouting

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..factors import Init, LowRank, Rank
from ..routing import Allocation, Granularity, MultiHeadRouting, PolyRouting, Sharing
from ._layerwise import Layerwise

__all__ = ["MHR", "Poly"]


@dataclass(frozen=True)
class Poly(Layerwise):
    """An inventory of S LoRA pairs; each task mixes A and B separately: A_t = Σ α_s A_s, B_t = Σ α_s B_s.

    Ponti et al., "Combining Parameter-efficient Modules for Task-level Generalisation", section 3.

    Args:
        rank: r ≥ 1, or `{layer pattern: rank}`.
        skills: S ≥ 2.
        alpha: scale alpha / rank.
        init: as for `LoRA`.
        allocation: `sigmoid`, `bernoulli` or `random`: how training computes α. See `taskfold.routing.Routed`.
        granularity: logits per `layer`, per `block` or one for the `model`.
        layers, targets, norm: see `Layerwise`.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(10, 20)), tfold.Poly(rank=1, skills=4))
        >>> model.add_task("sums").counts()["routing"], sum(p.numel() for p in model.inventory.parameters())
        (4, 120)
    """

    rank: Rank = 1
    skills: int = 8
    alpha: float | None = 1.0
    init: Init = "zero"
    allocation: Allocation = "sigmoid"
    granularity: Granularity = "layer"
    name: ClassVar[str] = "poly"

    def update(self) -> tuple[LowRank, Sharing]:
        return LowRank(self.rank, self.alpha, self.init), PolyRouting(self.allocation, self.granularity, self.skills)


@dataclass(frozen=True)
class MHR(Poly):
    """Multi-head routing: Poly with its own α for each of `splits` slices of the input and output dimensions.

    Caccia et al., "Multi-Head Adapter Routing for Cross-Task Generalization", section 3.

    Args:
        splits: must divide the input and output dimensions of every adapted layer.

    Raises:
        ValueError: a setting is out of its range; when a task is added, splits that do not divide a layer.
    """

    splits: int = 4
    name: ClassVar[str] = "mhr"

    def update(self) -> tuple[LowRank, Sharing]:
        rule = MultiHeadRouting(self.allocation, self.granularity, self.skills, self.splits)
        return LowRank(self.rank, self.alpha, self.init), rule

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..factors import Alpha, Direction, Init, Rank
from ..routing import Private
from ._layerwise import Layerwise

__all__ = ["DoRA"]


@dataclass(frozen=True)
class DoRA(Layerwise):
    """Weight-decomposed low-rank adaptation: LoRA on the direction of each weight, and a learned norm for each output.

    Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", section 4: W_t = m (W + (α/r) A Bᵀ) / ‖W + (α/r) A Bᵀ‖.
    m starts at the norms of W, so that a new task is the backbone.

    Args:
        rank: r ≥ 1, or `{layer pattern: rank}`.
        alpha: as for `LoRA`.
        init: `zero` (A zero, B random), `xavier` or `normal`.
        layers, targets, norm: see `Layerwise`.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(64, 32)), tfold.DoRA(rank=4))
        >>> model.add_task("flowers").counts()["factors"]  # 4 (64 + 32) + 32
        416
    """

    rank: Rank = 8
    alpha: Alpha = None
    init: Init = "zero"
    name: ClassVar[str] = "dora"

    def update(self) -> tuple[Direction, Private]:
        return Direction(self.rank, self.alpha, self.init), Private()

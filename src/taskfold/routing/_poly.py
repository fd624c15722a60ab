from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..factors import Leaf
from ._base import Leaves, Tensors
from ._routed import LOGITS, Routed, whole


@dataclass(frozen=True)
class PolyRouting(Routed):
    """An inventory of S of everything; each leaf is mixed by itself: leaf_t = Σ_s α_s leaf_s.

    Ponti et al., "Combining Parameter-efficient Modules for Task-level Generalisation", section 3.

    Args:
        skills: S ≥ 2.

    Raises:
        ValueError: skills < 2.
    """

    skills: int = 8
    name = "poly"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("skills", self.skills, 2)

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return {name: _several(leaf, self.skills) for name, leaf in leaves.items()}

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return self.logits(self.skills)

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        weights = self.mixing(own[LOGITS], training)
        return {name: torch.tensordot(weights, bank.to(weights.dtype), 1) for name, bank in inventory.items()}


def _several(leaf: Leaf, count: int) -> Leaf:
    def start(bank: Tensor) -> None:
        for one in bank:
            leaf.start(one)

    return Leaf((count, *leaf.shape), ("expert", *leaf.axes), start, leaf.group)

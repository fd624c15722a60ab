from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..factors import Leaf, check_whole
from ._base import Leaves, Tensors
from ._routed import Routed


@dataclass(frozen=True)
class PolyRouting(Routed):
    """An inventory with S copies of each leaf, which a task mixes leaf by leaf: leaf_t = Σ_s α_s leaf_s.

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
        check_whole("skills", self.skills, 2)

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return {name: _several(leaf, self.skills) for name, leaf in leaves.items()}

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return self.logits(self.skills)

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        weights = self.alpha(own, training)
        mixed: dict[str, Tensor] = {}
        for name, bank in inventory.items():
            shape = leaves[name].shape
            flat = bank.to(weights.dtype).flatten(bank.dim() - len(shape))
            mixed[name] = (weights @ flat).unflatten(-1, shape)
        return mixed


def _several(leaf: Leaf, count: int) -> Leaf:
    def start(bank: Tensor) -> None:
        for one in bank:
            leaf.start(one)

    return Leaf((count, *leaf.shape), ("expert", *leaf.axes), start, leaf.group)

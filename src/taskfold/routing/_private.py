from __future__ import annotations

from dataclasses import dataclass

from ._base import Leaf, Leaves, Sharing, Tensors


@dataclass(frozen=True)
class Private(Sharing):
    """Every task has its own leaves: training one task moves no other."""

    name = "private"
    keeps_leaves = True

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return {}

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return dict(leaves)

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        return own

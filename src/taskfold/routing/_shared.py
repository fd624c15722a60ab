from __future__ import annotations

from dataclasses import dataclass

from ._base import Leaf, Leaves, Sharing, Tensors


@dataclass(frozen=True)
class Shared(Sharing):
    """All tasks use the same leaves, held by the model and trained jointly."""

    name = "shared"
    keeps_leaves = True

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return dict(leaves)

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return {}

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        return inventory

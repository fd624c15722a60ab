from __future__ import annotations

from ._base import Leaf, Leaves, Sharing, Tensors


class Shared(Sharing):
    """All tasks use the same leaves, held by the model and trained jointly."""

    name = "shared"

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return dict(leaves)

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return {}

    def select(self, inventory: Tensors, own: Tensors) -> Tensors:
        return inventory

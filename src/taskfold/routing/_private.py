from __future__ import annotations

from ._base import Leaf, Leaves, Sharing, Tensors


class Private(Sharing):
    """Every task has its own leaves: nothing that one task learns moves another."""

    name = "private"

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return {}

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return dict(leaves)

    def select(self, inventory: Tensors, own: Tensors) -> Tensors:
        return own

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..factors import Group, Leaf
from ._base import Leaves, Sharing, Tensors
from ._tensor_poly import count_terms

CORE = "core"

_GROUP = Group(CORE, 1e-2)


@dataclass(frozen=True)
class Core(Sharing):
    """All tasks use the same leaves, and each has a small matrix Σ_t between them: ΔW_t = U Σ_t V; Σ_t starts at 1.

    Brüel-Gabrielsson et al., "Compress then Serve" (2024), joint diagonalisation with full Σ.
    """

    name = "core"
    keeps_leaves = True

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        _between(leaves)
        return dict(leaves)

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        terms = count_terms(self.name, leaves, least=1)
        return {CORE: Leaf((terms, terms), ("left", "right"), torch.nn.init.eye_, _GROUP)}

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        name = _between(leaves)
        left, core = inventory[name], own[CORE]
        if leaves[name].axes[0] == "term":
            return {**inventory, name: core.mT @ left}
        return {**inventory, name: left @ core}


def _between(leaves: Mapping[str, Leaf]) -> str:
    """The leaf with axes of outputs and terms, whose terms the core mixes.

    Raises:
        ValueError: there is none, or several.
    """
    found = [name for name, leaf in leaves.items() if len(leaf.axes) == 2 and {*leaf.axes} == {"term", "out"}]
    if len(found) != 1:
        shapes = {name: leaf.shape for name, leaf in leaves.items()}
        raise ValueError(
            f"sharing 'core' mixes the terms of one matrix of outputs and terms, and the leaves are {shapes}; use a "
            "low rank, or CP where the outputs have one axis"
        )
    return found[0]

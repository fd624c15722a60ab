"""A routing as arrays with a row for every block and columns for every kind of layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..schema import Routing
from ._heat import Kind
from ._places import places


@dataclass(frozen=True)
class Inventory:
    """Mixing weights ``alpha[task, block, kind, expert]``, mean over groups; NaN where a block has no such layer."""

    blocks: tuple[str, ...]
    kinds: tuple[Kind, ...]
    alpha: np.ndarray

    @property
    def experts(self) -> int:
        """The largest number of experts of a layer."""
        return self.alpha.shape[-1]


def inventory(routing: Routing) -> Inventory:
    """The routing in arrays."""
    spots = places([layer.layer for layer in routing.layers])
    blocks = tuple(dict.fromkeys(spot.row for spot in spots))
    kinds = tuple(dict.fromkeys(spot.kind for spot in spots))
    kinds = tuple(
        sorted(kinds, key=lambda kind: [part for part, _ in kinds].index(kind[0]))
    )  # parts of a block stay together
    experts = max(layer.size for layer in routing.layers)
    alpha = np.full((len(routing.tasks), len(blocks), len(kinds), experts), np.nan)
    for spot, layer in zip(spots, routing.layers, strict=True):
        means = np.array(layer.alpha).mean(1)
        alpha[:, blocks.index(spot.row), kinds.index(spot.kind), : layer.size] = means
    return Inventory(blocks, kinds, alpha)

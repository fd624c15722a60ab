"""Weights by direction and magnitude: DoRA (Liu et al. 2024), equation 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import Modes
from ._init import zeros
from ._leaf import Leaf
from ._lowrank import LowRank


@dataclass(frozen=True)
class Direction(LowRank):
    """W_t = m V / ‖V‖ with V = W + (α/r) up · down: a norm for each output channel, and m, its magnitude, is learned.

    The norm has no gradient of its own (section 4.3). A task makes the whole weight of its layer.

    Args:
        rank, alpha, init: as for `LowRank`.

    Raises:
        ValueError: as for `LowRank`; an output channel of the layer has weights of zero alone.

    Example:
        >>> {name: leaf.shape for name, leaf in Direction(rank=4).leaves(Modes((64,), (32,))).items()}
        {'up': (64, 4), 'down': (4, 32), 'magnitude': (64,)}
    """

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        return {**super().leaves(modes), "magnitude": Leaf((modes.shape[0],), ("out",), zeros)}

    def begin(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        norms = _norms(weight)
        if not norms.is_meta and not bool(norms.all()):
            raise ValueError("an output channel has weights of zero alone, and so no direction; leave the layer out")
        return {"magnitude": norms}

    def whole(self, leaves: Mapping[str, Tensor], weight: Tensor, modes: Modes) -> Tensor:
        made = weight + self.materialise(leaves, modes).reshape(weight.shape)
        gain = leaves["magnitude"] / _norms(made.detach())
        return made * gain.reshape(-1, *(1 for _ in weight.shape[1:]))

    @property
    def has_bottleneck(self) -> bool:
        return False  # of V alone


def _norms(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight.flatten(1), dim=1)

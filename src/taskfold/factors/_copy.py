"""A copy of a layer's weight, which a task trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ._base import Modes
from ._expansion import Expansion
from ._leaf import WEIGHTS, Leaf


@dataclass(frozen=True)
class Copy(Expansion):
    """W_t is a copy of the layer's weight, which trains."""

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        axes = ("out", "inp", *("kernel" for _ in modes.kernel))
        return {"weight": Leaf(modes.shape, axes, nn.init.zeros_, WEIGHTS)}

    def begin(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        return {"weight": weight}

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        return leaves["weight"]

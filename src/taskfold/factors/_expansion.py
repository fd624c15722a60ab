"""Expansions: weights made from more numbers than they have in training, contracted afterwards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ._base import Factorisation, Modes
from ._leaf import Group

EXPANDED = Group("factors", 1e-3)
"""Factors that make a whole pretrained weight between them."""


@dataclass(frozen=True)
class Expansion(Factorisation):
    """A factorisation that makes the whole weight of a layer and replaces the layer's own."""

    @abstractmethod
    def begin(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        """Leaves that make this weight `[O, I, *kernel]` by `materialise`, as far as the rank allows."""

    def whole(self, leaves: Mapping[str, Tensor], weight: Tensor, modes: Modes) -> Tensor:
        return self.materialise(leaves, modes).reshape(weight.shape)

    @property
    def replaces(self) -> bool:
        return True

"""The recipe of random projections (SAID): one vector of a task changes all parameters of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..factors import LAST_SEED, Fastfood, Group, Leaf, OnBasis, check_whole, marks_of
from ..tasks import Leaves
from ._everywhere import Everywhere, NetworkWide, Span
from ._part import Part

PROJECTED = Group("factors", 3e-4)
"""Each number moves every weight of the network."""


class Projected(Everywhere):
    """θ + λ P z for each parameter θ of a layer; z and the λ of all parameters are the task's.

    Args:
        own: the leaves `vector` (z) and `scales` (λ).
        spans: of the layer's parameters.
        seed: of the projections P.
    """

    def __init__(self, own: Leaves, spans: Mapping[str, Span], seed: int) -> None:
        super().__init__(own, spans)
        self.projections = Fastfood.of(seed)

    def added(self, span: Span, own: Tensor) -> Tensor:
        made = self.projections.project(self.own["vector"], span.size, span.number)
        made = made * self.own["scales"][span.number]
        return own + made.reshape(span.shape).to(own.dtype)


@dataclass(frozen=True)
class Projections(NetworkWide):
    """Random projections for a network.

    Args:
        dimension: numbers of z and λ together: one λ for each parameter tensor, the rest is z.
        seed: of the projections.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has `dimension` or more tensors.
    """

    dimension: int = 500_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("dimension", self.dimension, 2)
        check_whole("seed", self.seed, 0, LAST_SEED)

    def leaves(self, spans: Sequence[Span]) -> dict[str, Leaf]:
        if self.dimension <= len(spans):
            raise ValueError(
                f"dimension={self.dimension} leaves no number for the vector: the network has {len(spans)} parameter "
                "tensors, each with a scale; raise it"
            )
        known = torch.arange(1.0, 65.0, dtype=torch.float64, device="cpu")
        drawn = Fastfood.of(self.seed).project(known, 64, len(spans))
        stored = OnBasis(f"projections of seed {self.seed} to {len(spans)} tensors", marks_of(drawn))
        vector = (self.dimension - len(spans),)
        return {
            "vector": Leaf(vector, ("direction",), nn.init.zeros_, PROJECTED, "model", stored),
            "scales": Leaf((len(spans),), ("tensor",), partial(nn.init.constant_, val=1.0), PROJECTED, "model"),
        }

    def part(self, own: Leaves, spans: Mapping[str, Span], every: Sequence[Span]) -> Part:
        return Projected(own, spans, self.seed)

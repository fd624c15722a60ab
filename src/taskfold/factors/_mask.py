"""Masks on a layer's own weight: Piggyback's (2018), WTPB's (2018, 2021), and BA²'s (2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ._base import Factorisation, Modes
from ._bits import Bits
from ._hard import hard
from ._leaf import Group, Leaf

MASK = Group("mask", 1e-4)
SCALARS = Group("scalars", 1e-4)
"""The group of a layer's mask scalars; the rate is that of WTPB's authors with Adam."""
PRODUCT = (0.0, 0.0, 0.0, 1.0)
Granularity = Literal["weight", "pair"]


@dataclass(frozen=True)
class Mask(Factorisation):
    """W_t = k₀ W + k₁ + k₂ M + k₃ W ⊙ M; M is 1 where a score is above τ, else 0; ternary: −1 where it is below 0.

    Scores are real numbers and train as if M were the scores themselves: for the product, ∂L/∂m = ∂L/∂W_t ⊙ W, even
    where M is 0, so that masked weights may return. Only their levels are kept in files (see `Bits`).

    Args:
        threshold: τ, 0 ≤ τ < start.
        start: the initial score, so that M = 1.
        ternary: whether there is a level −1.
        spread: initial scores are uniform from `start` to `start + spread`.
        granularity: a score for each `weight`, or for each `pair` of an output and an input channel.
        scalars: the initial k₀ to k₃; the default is the product W ⊙ M alone.
        free: which scalars a task trains at each layer.

    Raises:
        ValueError: a setting is out of its range.

    Example:
        >>> scores, weight = torch.tensor([[0.01, 0.002]]), torch.tensor([[3.0, 4.0]])
        >>> Mask().whole({"mask": scores}, weight, Modes((1,), (2,))).tolist()
        [[3.0, 0.0]]
    """

    threshold: float = 5e-3
    start: float = 1e-2
    ternary: bool = False
    spread: float = 0.0
    granularity: Granularity = "weight"
    scalars: tuple[float, float, float, float] = PRODUCT
    free: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _ = self.bits

    @property
    def bits(self) -> Bits:
        """The storage of the scores in files."""
        return Bits(self.threshold, self.start, self.ternary)

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        start = partial(nn.init.uniform_, a=self.start, b=self.start + self.spread)
        if not self.spread:
            start = partial(nn.init.constant_, val=self.start)
        axes = 2 if self.granularity == "pair" else len(modes.shape)
        names = ("out", "inp", *("kernel" for _ in modes.kernel))[:axes]
        found = {"mask": Leaf(modes.shape[:axes], names, start, MASK, stored=self.bits)}
        if self.free:
            own = [self.scalars[n] for n in self.free]
            found["scalars"] = Leaf((len(own),), ("scalar",), partial(_filled, values=own), SCALARS)
        return found

    def levels(self, leaves: Mapping[str, Tensor]) -> Tensor:
        """The level of each score, with the gradient of the score itself."""
        return hard(leaves["mask"], self.bits.levels)

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        """M, `[*, O, I, *kernel]`."""
        levels = self.levels(leaves)
        if self.granularity == "weight":
            return levels
        return levels[(..., *(None for _ in modes.kernel))].expand(*levels.shape, *modes.kernel)

    def weighing(self, leaves: Mapping[str, Tensor]) -> Tensor | None:
        if not self.free:
            return None
        own = dict(zip(self.free, leaves["scalars"].unbind(-1), strict=True))
        like = next(iter(own.values()))
        return torch.stack([own.get(n, torch.full_like(like, value)) for n, value in enumerate(self.scalars)], -1)

    def whole(self, leaves: Mapping[str, Tensor], weight: Tensor, modes: Modes) -> Tensor:
        return masked(weight, self.materialise(leaves, modes).to(weight.dtype), self.weighing(leaves))

    @property
    def masks(self) -> bool:
        return True


def masked(weight: Tensor, mask: Tensor, scalars: Tensor | None) -> Tensor:
    """k₀ W + k₁ + k₂ M + k₃ W ⊙ M, with k `[*, 4]` for masks `[*, …]`; None: W ⊙ M.

    Example:
        >>> masked(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5, 2.0, 0.0])).tolist()
        [5.5, 4.5]
    """
    if scalars is None:
        return weight * mask
    ones = [1] * (mask.dim() - scalars.dim() + 1)
    k0, k1, k2, k3 = (k.reshape(*k.shape, *ones) for k in scalars.to(weight.dtype).unbind(-1))
    return k0 * weight + k1 + k2 * mask + k3 * (weight * mask)


def _filled(leaf: Tensor, values: Sequence[float]) -> None:
    leaf.copy_(torch.tensor(values))

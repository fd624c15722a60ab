"""Masks on a layer's own weight. Piggyback (Mallya, Davis and Lazebnik, 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ._base import Factorisation, Modes
from ._bits import Bits
from ._leaf import Group, Leaf

MASK = Group("mask", 1e-4)


@dataclass(frozen=True)
class Mask(Factorisation):
    """W_t = W ⊙ M; M is 1 where a score is above τ, else 0; ternary: −1 where it is below 0.

    Scores are real numbers and train as if M were the scores themselves: ∂L/∂m = ∂L/∂W_t ⊙ W, also where M is 0, so
    that what is masked out may return. Only their levels are kept in files (see `Bits`).

    Args:
        threshold: τ, 0 ≤ τ < start.
        start: all scores begin there, so that M = 1.
        ternary: whether there is a level −1.

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

    def __post_init__(self) -> None:
        _ = self.bits

    @property
    def bits(self) -> Bits:
        """How files keep the scores."""
        return Bits(self.threshold, self.start, self.ternary)

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        axes = ("out", "inp", *("kernel" for _ in modes.kernel))
        start = partial(torch.nn.init.constant_, val=self.start)
        return {"mask": Leaf(modes.shape, axes, start, MASK, stored=self.bits)}

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        """M, `[*, O, I, *kernel]`."""
        return _Levels.apply(leaves["mask"], self.bits)  # type: ignore[no-any-return]

    def whole(self, leaves: Mapping[str, Tensor], weight: Tensor, modes: Modes) -> Tensor:
        return weight * self.materialise(leaves, modes).to(weight.dtype)

    @property
    def masks(self) -> bool:
        return True


class _Levels(torch.autograd.Function):
    """A hard choice whose gradient is that of doing nothing."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, bits: Bits) -> Tensor:  # type: ignore[override]
        return bits.levels(scores)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None

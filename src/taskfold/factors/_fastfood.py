"""Random projections of one vector to tensors of any size. Fastfood (Le, Sarlós and Smola 2013), as in SAID."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.nn.functional import pad

from ._draws import normals, shuffle, signs

ROOM = 1 << 30
"""Bytes of drawn numbers that one seed keeps; further ones are drawn in every pass."""

Drawn = tuple[Tensor, Tensor, Tensor, float]
"""B, Π and G of a projection, and its scale."""


class Fastfood:
    """The projections of one seed: P_n z, the first entries of H G Π H B z, which keeps the length of z on average.

    B: signs; Π: a permutation; G: nearly normal numbers; H: Walsh and Hadamard's matrix of L = 2^⌈log₂ size⌉ rows. z is
    cut to L numbers, or filled up with zeros. All is divided by √(size · Σ G²), with H of ±1.

    Args:
        seed: from 0 to 2³¹ − 1.

    Example:
        >>> z, these = torch.ones(4), Fastfood.of(seed=0)
        >>> these.project(2 * z, 6, number=1).equal(2 * these.project(z, 6, number=1))
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.room = seed, ROOM
        self.known: dict[object, Drawn] = {}

    @classmethod
    def of(cls, seed: int) -> Fastfood:
        """The shared projections of a seed."""
        return _KNOWN.setdefault(seed, cls(seed))

    def project(self, vector: Tensor, size: int, number: int) -> Tensor:
        """P z.

        Args:
            vector: z, `[d]`.
            size: the projection's size, ≥ 1.
            number: the projection's number.
        """
        return _Project.apply(vector, self, size, number)  # type: ignore[no-any-return]

    def drawn(self, size: int, number: int, device: torch.device) -> Drawn:
        """The parts of a projection, in few bytes."""
        key = size, number, device
        if key not in self.known:
            exponent = (size - 1).bit_length()
            flips = signs(self.seed, 3 * number, 1 << exponent, device).to(torch.int8)
            order = shuffle(self.seed, 3 * number + 1, exponent, device).to(torch.int32)
            gauss = normals(self.seed, 3 * number + 2, 1 << exponent, device)
            total = max(1, int(gauss.square().sum()))
            made = flips, order, gauss.to(torch.int16), 1 / math.sqrt(total * size)
            taken = 7 << exponent
            if taken > self.room:
                return made
            self.room -= taken
            self.known[key] = made
        return self.known[key]

    def __deepcopy__(self, memo: dict[int, Any]) -> Fastfood:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Fastfood.of, (self.seed,)


_KNOWN: WeakValueDictionary[int, Fastfood] = WeakValueDictionary()


def hadamard(x: Tensor) -> Tensor:
    """H x for `[L]`, L a power of two; H has entries ±1 and is symmetric."""
    length, half = len(x), 1
    while half < length:
        one, other = x.view(-1, 2, half).unbind(1)
        x = torch.stack((one + other, one - other), 1)
        half *= 2
    return x.reshape(-1)


class _Project(torch.autograd.Function):
    """P as a linear autograd function: its gradient is Pᵀ, without saved tensors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(vector: Tensor, these: Fastfood, size: int, number: int) -> Tensor:  # type: ignore[override]
        if vector.is_meta:
            return vector.new_empty(size)
        flips, order, gauss, scale = these.drawn(size, number, vector.device)
        inner = hadamard(_fit(vector, len(flips)) * flips).index_select(0, order)
        return hadamard(inner * gauss)[:size] * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        vector, *ctx.which = inputs
        ctx.dimension = len(vector)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return _Adjoint.apply(gradient, ctx.dimension, *ctx.which), None, None, None


class _Adjoint(torch.autograd.Function):
    """Pᵀ, for the gradient of P."""

    generate_vmap_rule = True

    @staticmethod
    def forward(made: Tensor, dimension: int, these: Fastfood, size: int, number: int) -> Tensor:  # type: ignore[override]
        flips, order, gauss, scale = these.drawn(size, number, made.device)
        inner = hadamard(_fit(made * scale, len(flips))) * gauss
        return _fit(hadamard(torch.empty_like(inner).index_copy_(0, order.long(), inner)) * flips, dimension)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, _, *ctx.which = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return _Project.apply(gradient, *ctx.which), None, None, None, None


def _fit(x: Tensor, length: int) -> Tensor:
    return x[:length] if len(x) >= length else pad(x, (0, length - len(x)))

"""Sums of Kronecker products: Compacter (Mahabadi et al. 2021, section 4), KAdaptation (He et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from ._base import TERMS, Bottleneck, Factorisation, Modes
from ._init import gaussian, zeros
from ._leaf import Leaf, Scope
from ._numbers import check_number, check_whole

KroneckerInit = Literal["zero", "glorot", "none"]


@dataclass(frozen=True)
class Kronecker(Factorisation):
    """ΔWᵀ = scale · Σᵢ Aᵢ ⊗ (sᵢ tᵢᵀ), n terms; inputs are the first axis of each matrix, as in y = x ΔWᵀ.

    Aᵢ is m × m, the *slow* weights; sᵢ [I/m, r] and tᵢ [r, O/m] are the *fast* ones. ΔW has rank n·m·r at most; n·k·r
    if Aᵢ = aᵢ cᵢ has rank k.

    Args:
        terms: n ≥ 1.
        size: m ≥ 1, which divides I and O; None: n.
        rank: r ≥ 1, of the fast matrices.
        slow_rank: k ≥ 1, of the slow ones; None: they are full.
        scale: the factor on ΔW.
        scope: the layers that share slow weights: each `layer` has its own, or all of a `block` or the `model` share.
        tie: for wider scopes the name of the set, in networks with several.
        init: `zero` (t is zero: ΔW is zero, and has a gradient), `glorot` (s and t), or `none` (both are zero: nothing
            ever trains, as in KAdaptation's code).
        slow_init: `normal` or `uniform`, and its standard deviation or bound.

    Raises:
        ValueError: a setting is out of its range; for a weight, m does not divide its sizes, or it has a kernel.

    Example:
        >>> {name: leaf.shape for name, leaf in Kronecker().leaves(Modes((64,), (2048,))).items()}
        {'slow': (4, 4, 4), 'fast_in': (4, 512, 1), 'fast_out': (4, 1, 16)}
        >>> {name: leaf.shape for name, leaf in Kronecker(32, slow_rank=1).leaves(Modes((768,), (768,))).items()}
        {'slow_in': (32, 32, 1), 'slow_out': (32, 1, 32), 'fast_in': (32, 24, 1), 'fast_out': (32, 1, 24)}
    """

    terms: int = 4
    size: int | None = None
    rank: int = 1
    slow_rank: int | None = None
    scale: float = 1.0
    scope: Scope = "layer"
    tie: str = ""
    init: KroneckerInit = "zero"
    slow_init: tuple[Literal["normal", "uniform"], float] = ("normal", 0.02)

    def __post_init__(self) -> None:
        for name in ("terms", "size", "rank", "slow_rank"):
            value, optional = getattr(self, name), name in ("size", "slow_rank")
            if value is not None or not optional:
                check_whole(name, value, 1, also=", or none" * optional)
        check_number("scale", self.scale, "> 0", lambda scale: scale > 0)
        if self.scope not in get_args(Scope):
            raise ValueError(f"scope={self.scope!r} is not known; choose one of {', '.join(get_args(Scope))}")
        if self.init not in get_args(KroneckerInit):
            raise ValueError(f"init={self.init!r} is not known; choose one of {', '.join(get_args(KroneckerInit))}")
        law, spread = self.slow_init
        if law not in ("normal", "uniform") or not 0 < spread < math.inf:
            raise ValueError(
                f"slow_init must be 'normal' or 'uniform' and a finite number > 0, found {self.slow_init!r}"
            )

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        out, inp, *kernel = modes.shape
        if kernel:
            raise ValueError("Kronecker products have no axis for a kernel; leave convolutions out")
        n, r, k = self.terms, self.rank, self.slow_rank
        name, m = ("terms", n) if self.size is None else ("size", self.size)
        for what, size in (("inputs", inp), ("outputs", out)):
            if size % m:
                raise ValueError(
                    f"{name}={m} of the Kronecker products must divide the {size} {what}; choose a divisor"
                )
        slow = {"slow": (n, m, m)} if k is None else {"slow_in": (n, m, k), "slow_out": (n, k, m)}
        law, spread = self.slow_init
        start = gaussian(spread) if law == "normal" else partial(torch.nn.init.uniform_, a=-spread, b=spread)
        found = {
            name: Leaf(shape, ("term", "slow", "slow"), start, scope=self.scope, tie=f"{self.tie}/{name}")
            for name, shape in slow.items()
        }
        fast_in = zeros if self.init == "none" else glorot
        fast_out = glorot if self.init == "glorot" else zeros
        return {
            **found,
            "fast_in": Leaf((n, inp // m, r), ("term", "inp", "fast"), fast_in),
            "fast_out": Leaf((n, r, out // m), ("term", "fast", "out"), fast_out),
        }

    def bottleneck(self, leaves: Mapping[str, Tensor], modes: Modes) -> Bottleneck:
        s, t = leaves["fast_in"], leaves["fast_out"]
        if TERMS in leaves:
            t = t * leaves[TERMS][..., None, None]
        if self.scale != 1.0:
            t = t * self.scale
        if self.slow_rank is None:
            a = leaves["slow"]
            c = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        else:
            a, c = leaves["slow_in"], leaves["slow_out"]
        return Bottleneck.aligned(_products(c, t).mT, _products(a.mT, s.mT))

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        return self.bottleneck(leaves, modes).dense()

    @property
    def compact(self) -> bool:
        return True


def glorot(leaf: Tensor) -> None:
    """Glorot-uniform with a gain of √2, on the matrices of the last two axes, as for Compacter's fast weights."""
    bound = math.sqrt(2) * math.sqrt(6.0 / (leaf.shape[-2] + leaf.shape[-1]))
    torch.nn.init.uniform_(leaf, -bound, bound)


def _products(slow: Tensor, fast: Tensor) -> Tensor:
    """`[*, n, k, m]`, `[*, n, r, d]` → Kronecker products of rows, `[*, n·k·r, m·d]`."""
    made = slow.unsqueeze(-2).unsqueeze(-1) * fast.unsqueeze(-3).unsqueeze(-2)
    return made.flatten(-2).flatten(-4, -2)

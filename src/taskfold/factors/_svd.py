"""Over-parameterised layers: U · diag(m) · V in training (Learning Compact Neural Networks with Deep
Overparameterised Multitask Learning, section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Self

import torch
from torch import Tensor

from ._base import TERMS, Modes
from ._expansion import EXPANDED, Expansion
from ._init import kaiming
from ._leaf import Leaf
from ._ranked import Rank, check_rank, rank_at


@dataclass(frozen=True)
class SVD(Expansion):
    """W = U diag(m) V; on a convolution the spatial one, K[o,i,a,b] = Σ_r U[o,b,r] m[r] V[r,i,a].

    A kernel's single axis is in V; of three axes the first is in V, the others in U.

    V is a k×1 convolution to r channels and U a 1×k convolution of its output, scaled by m in between. For a
    grouped convolution I is what one group sees, and V serves all groups. Both start with √σ of the singular values.

    Args:
        rank: r; None: full, min(I·kₐ, O·k_b); larger ranks count as full. A rank below full starts at the
            nearest weight of that rank, not at the layer's own.

    Raises:
        ValueError: a rank is not a whole number ≥ 1.

    Example:
        >>> modes = Modes(out=(64,), inp=(32,), kernel=(3, 3))
        >>> {name: leaf.shape for name, leaf in SVD().leaves(modes).items()}
        {'u': (64, 3, 96), 'v': (96, 32, 3)}
    """

    rank: Rank | None = None

    def __post_init__(self) -> None:
        if self.rank is not None:
            check_rank(self.rank)

    def at(self, layer: str) -> Self | None:
        if self.rank is None:
            return self
        rank = rank_at(self.rank, layer)
        return replace(self, rank=rank) if rank else None

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        out, inp, high, wide = _sizes(modes)
        full = min(inp * prod(high), out * prod(wide))
        rank = full if not isinstance(self.rank, int) else min(self.rank, full)
        return {
            "u": Leaf((out, *wide, rank), ("out", *("kernel" for _ in wide), "term"), kaiming, EXPANDED),
            "v": Leaf((rank, inp, *high), ("term", "inp", *("kernel" for _ in high)), kaiming, EXPANDED),
        }

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        u, v = leaves["u"], leaves["v"]
        if TERMS in leaves:
            u = u * leaves[TERMS].reshape(*leaves[TERMS].shape[:-1], *(1 for _ in modes.kernel[1:]), 1, -1)
        if not modes.kernel:
            return u @ v
        out, inp, high, wide = _sizes(modes)
        weight = u.flatten(-2 - len(wide), -2) @ v.flatten(-2)  # [*, O·k_b, I·k_a]
        weight = weight.unflatten(-1, (inp, *high)).unflatten(-3, (out, *wide))  # [*, O, k_b, I, k_a]
        return weight.movedim(tuple(range(-2 - len(wide), -2)), tuple(range(-len(wide), 0))) if wide else weight

    def begin(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        wide = len(modes.kernel) - 1
        matrix = weight
        if modes.kernel:
            moved = weight.movedim(tuple(range(-wide, 0)), tuple(range(1, 1 + wide))) if wide else weight
            matrix = moved.flatten(1 + wide).flatten(0, wide)
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        shapes = {name: leaf.shape for name, leaf in self.leaves(modes).items()}
        rank, root = shapes["v"][0], s.sqrt()
        # For σ = 0 only U is 0: with both at 0 neither would learn.
        other = torch.where(s > torch.finfo(s.dtype).tiny, root, torch.ones_like(root))
        halves = {"u": (u * root)[:, :rank], "v": (other[:, None] * v)[:rank]}
        return {name: half.reshape(shapes[name]) for name, half in halves.items()}


def _sizes(modes: Modes) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
    """O, I, the kernel's first size and the others; both empty for a linear layer."""
    out, inp, *kernel = modes.shape
    return out, inp, tuple(kernel[:1]), tuple(kernel[1:])

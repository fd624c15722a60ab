"""Entangled tensors: a thin matrix as a sum of tensor products of very short vectors.

TLoRA and TensorPoly (Su et al., "Mixture of Latent Experts Using Tensor Products"), section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ._base import TERMS, Bottleneck, Modes, khatri_rao
from ._init import Init, Start, gaussian, starts
from ._leaf import Leaf
from ._numbers import check_whole
from ._ranked import Ranked

MOST_ORDERS = 20


@dataclass(frozen=True)
class Entangled(Ranked):
    """ΔW = (α/r) A Bᵀ, where column ρ of A (and of B) is Σ_k leaf[0,k,ρ] ⊗ … ⊗ leaf[N-1,k,ρ], cut to length d.

    The leaves are `[N, R, r, q]` with q the smallest integer such that q^N ≥ d: N r R (q_out + q_in) numbers.
    On a convolution d_in is I·kh·kw.

    Args:
        rank: r, columns of A and B.
        alpha: scale α/r; the paper's is 1.
        init: `zero` (one leaf of A is zero, all others so scaled that B starts as LoRA's does), `xavier` or `normal`.
        tensor_rank: R ≥ 1, the number of summed products.
        order: N, the number of factors of a product, 1 to 20.
        product_norm: normalise each product over all its r·q^N numbers before it is cut, as the authors' code does.

    Example:
        >>> leaves = Entangled(rank=4, tensor_rank=2, order=2).leaves(Modes(out=(64,), inp=(50,)))
        >>> {name: leaf.shape for name, leaf in leaves.items()}
        {'up': (2, 2, 4, 8), 'down': (2, 2, 4, 8)}
    """

    init: Init = "zero"
    tensor_rank: int = 1
    order: int = 2
    product_norm: bool = False
    component: ClassVar[str] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        starts(self.init, silent="")
        for name in ("tensor_rank", "order"):
            check_whole(name, getattr(self, name), 1)
        if self.order > MOST_ORDERS:
            raise ValueError(
                f"order must be {MOST_ORDERS} at the most, found {self.order}: a product of more vectors, of two "
                "numbers each, is longer than any layer is wide"
            )

    @property
    def compact(self) -> bool:
        return True

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        out, inp, *kernel = modes.shape
        sides = {"up": ("out", out), "down": ("inp", inp * prod(kernel))}
        return {
            name: Leaf(
                (self.order, self.tensor_rank, self.size, root(size, self.order)),
                ("order", "term", "rank", axis),
                self._start(name, size),
            )
            for name, (axis, size) in sides.items()
        }

    def _start(self, name: str, size: int) -> Start:
        if self.init != "zero":
            return starts(self.init, silent="")(name)
        if name == "up":
            # One factor is zero: the product is zero, and its gradient is not.
            return partial(_first_zero, others=gaussian(self.tensor_rank**-0.5))
        # The product of N factors, summed over R terms, then has LoRA's size: 1 / sqrt(3 d).
        return gaussian((3 * size * self.tensor_rank) ** (-0.5 / self.order))

    def bottleneck(self, leaves: Mapping[str, Tensor], modes: Modes) -> Bottleneck:
        out, inp, *kernel = modes.shape
        weights = leaves.get(TERMS)
        up = self.columns(leaves["up"], out, weights)
        down = self.columns(leaves["down"], inp * prod(kernel), weights)
        up = up if self.scale == 1.0 else up * self.scale
        return Bottleneck.aligned(up.mT, down.unflatten(-1, (inp, *kernel)) if kernel else down, kernel=len(kernel))

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        return self.bottleneck(leaves, modes).dense()

    def outputs(self, leaves: Mapping[str, Tensor]) -> Tensor:
        """One factor of the products; the update is linear in it unless `product_norm` ties the columns."""
        return leaves["up"][0].transpose(0, 1)

    def columns(self, leaf: Tensor, size: int, weights: Tensor | None = None) -> Tensor:
        """The columns of a thin matrix, `[*, r, size]`.

        Args:
            leaf: `[*, N, R, r, q]`.
            size: the columns' length, at most q^N.
            weights: the products' weights, `[*, R]`; or `[*, T, R]` for several tasks that share the leaf.
        """
        first, *others = leaf.unbind(-4)
        if self.product_norm or not others:
            products = reduce(khatri_rao, others, first)
            if self.product_norm:
                products = F.layer_norm(products, products.shape[-2:])
            return _sum(products, weights)[..., :size]
        # The last product and the sum over terms are one batched matrix product; the R products are never stored.
        *middle, last = others
        head = reduce(khatri_rao, middle, first).transpose(-3, -2).mT  # [*, r, m, R]
        last = last.transpose(-3, -2)  # [*, r, R, q]
        if weights is None:
            return (head @ last).flatten(-2)[..., :size]
        if weights.dim() == leaf.dim() - 3:
            return ((head * weights[..., None, None, :]) @ last).flatten(-2)[..., :size]
        # Several tasks on one leaf: their rows are stacked, [*, r, T·m, R], and `last` is never copied.
        head = head.unsqueeze(-3) * weights.unsqueeze(-2).unsqueeze(-4)
        columns = head.flatten(-3, -2) @ last
        columns = columns.unflatten(-2, (weights.shape[-2], -1)).movedim(-3, -4)
        return columns.flatten(-2)[..., :size]


def _sum(terms: Tensor, weights: Tensor | None) -> Tensor:
    """The sum over terms `[*, R, r, d]`, weighted by `[*, R]` or, for several tasks, `[*, T, R]`."""
    if weights is None:
        return terms.sum(-3)
    flat = terms.flatten(-2)
    summed = weights @ flat if weights.dim() == flat.dim() else (weights.unsqueeze(-2) @ flat).squeeze(-2)
    return summed.unflatten(-1, terms.shape[-2:])


def root(size: int, order: int) -> int:
    """The smallest integer q with q^order ≥ size, by integers: a float root is wrong for perfect powers.

    Example:
        >>> [root(d, 3) for d in (1, 8, 9, 27, 125, 126)]
        [1, 2, 3, 3, 5, 6]
    """
    q = max(round(size ** (1 / order)), 1)
    while q**order < size:
        q += 1
    while q > 1 and (q - 1) ** order >= size:
        q -= 1
    return q


def _first_zero(leaf: Tensor, others: Start) -> None:
    others(leaf)
    leaf[0].zero_()

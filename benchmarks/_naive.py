"""Routed updates as a reference implementation runs them: A and B are built for every row of the batch.

Only to be measured against. It is the plain reading of the papers' equations, with the products of TensorPoly-I made
once per forward; those of TensorPoly-II differ from row to row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ROWS: list[Tensor] = []
"""The task of each row of the batch that runs; one entry."""


class PerRow(nn.Module):
    """A frozen linear layer beside a routed pair of entangled matrices.

    Args:
        base: the layer.
        tasks: how many tasks there are.
        rank, tensor_rank: r and R; the order is 2.
        finer: TensorPoly-II; otherwise TensorPoly-I.
    """

    def __init__(self, base: nn.Linear, tasks: int, rank: int, tensor_rank: int, finer: bool) -> None:
        super().__init__()
        self.base, self.rank, self.finer = base, rank, finer
        sides = [math.isqrt(size - 1) + 1 for size in (base.out_features, base.in_features)]
        self.a, self.b = (nn.Parameter(torch.randn(2, tensor_rank, rank, side) / side) for side in sides)
        shape = (tasks, 2, tensor_rank) if finer else (tasks, tensor_rank)
        self.logits = nn.Parameter(torch.empty(shape).uniform_(-1e-3, 1e-3))

    @property
    def weight(self) -> Tensor:
        """T5 asks a layer for its weight's type."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        z = self.logits[ROWS[0]].sigmoid()
        weights = z / (z.sum(-1, keepdim=True) + 1e-12)
        a, b = (self._columns(leaf, weights) for leaf in (self.a, self.b))
        a, b = a[..., : self.base.out_features], b[..., : self.base.in_features]
        return self.base(x) + x.bmm(b.mT).bmm(a) / self.rank

    def _columns(self, leaf: Tensor, weights: Tensor) -> Tensor:
        """`[B, r, d]`."""
        if self.finer:
            first, last = torch.einsum("bnk,nkrq->nbrq", weights, leaf)
            return torch.einsum("brp,brq->brpq", first, last).flatten(-2)
        products = torch.einsum("krp,krq->krpq", leaf[0], leaf[1]).flatten(-2)
        return torch.einsum("bk,krd->brd", weights, products)


def per_row(network: nn.Module, tasks: int, rank: int, tensor_rank: int, finer: bool) -> nn.Module:
    """The network with every linear layer but the output layer replaced, in place."""
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.Linear) and path != "lm_head":
            parent, _, name = path.rpartition(".")
            made = PerRow(module, tasks, rank, tensor_rank, finer)
            setattr(network.get_submodule(parent), name, made)
    return network

"""One row per factorisation and shape: the definition as a sum, written out, is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from taskfold.factors import CP, Entangled, Factorisation, Kronecker, LowRank, Modes

Leaves = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    name: str
    factorisation: Factorisation
    modes: Modes
    oracle: Callable[[Leaves], Tensor]
    """The weight `[O, I, *kernel]` by the paper's formula."""
    count: int


def _sum(equation: str, *names: str, scale: float = 1.0) -> Callable[[Leaves], Tensor]:
    return lambda leaves: scale * torch.einsum(equation, *(leaves[name] for name in names))


def _column(leaf: Tensor, rho: int, size: int, norm: bool) -> Tensor:
    """One column of an entangled matrix: Kronecker products, first factor slowest, summed and cut."""
    order, terms, rank = leaf.shape[:3]
    total = torch.zeros(size, dtype=leaf.dtype)
    for k in range(terms):
        products = []
        for r in range(rank):
            product = leaf[0, k, r]
            for n in range(1, order):
                product = torch.kron(product, leaf[n, k, r])
            products.append(product)
        mine = torch.stack(products)
        if norm:
            mine = (mine - mine.mean()) / (mine.var(unbiased=False) + 1e-5).sqrt()
        total = total + mine[rho, :size]
    return total


def _entangled(out: int, inp: int, *kernel: int, scale: float = 1.0, norm: bool = False) -> Callable[[Leaves], Tensor]:
    size = inp * torch.Size(kernel).numel()

    def oracle(leaves: Leaves) -> Tensor:
        total = torch.zeros(out, size, dtype=torch.float64)
        for rho in range(leaves["up"].shape[2]):
            total = total + torch.outer(_column(leaves["up"], rho, out, norm), _column(leaves["down"], rho, size, norm))
        return scale * total.reshape(out, inp, *kernel)

    return oracle


def _kronecker(scale: float = 1.0) -> Callable[[Leaves], Tensor]:
    def oracle(leaves: Leaves) -> Tensor:
        slow = leaves["slow"] if "slow" in leaves else leaves["slow_in"] @ leaves["slow_out"]
        terms = [
            torch.kron(a.contiguous(), s @ t)
            for a, s, t in zip(slow, leaves["fast_in"], leaves["fast_out"], strict=True)
        ]
        return scale * torch.stack(terms).sum(0).T

    return oracle


CASES = [
    Case(
        "cp-conv",
        CP(rank=3, init="normal"),
        Modes((5,), (4,), (3, 3)),
        _sum("ro,ri,rab->oiab", "out0", "inp0", "kernel"),
        3 * (9 + 4 + 5),
    ),
    Case(
        "cp-conv-1x1-alpha",
        CP(rank=4, alpha=10.0, init="normal"),
        Modes((6,), (3,), (1, 1)),
        _sum("ro,ri,rab->oiab", "out0", "inp0", "kernel", scale=10 / 4),
        4 * (1 + 3 + 6),
    ),
    Case(
        "cp-depthwise",
        CP(rank=2, init="xavier"),
        Modes((8,), (1,), (5, 3)),
        _sum("ro,ri,rab->oiab", "out0", "inp0", "kernel"),
        2 * (15 + 1 + 8),
    ),
    Case(
        "cp-linear",
        CP(rank=2, init="normal"),
        Modes((5,), (7,)),
        _sum("ro,ri->oi", "out0", "inp0"),
        2 * (5 + 7),
    ),
    Case(
        "cp-query",
        CP(rank=4, alpha=10.0, init="normal"),
        Modes((3, 2), (6,)),
        lambda leaves: (
            2.5 * torch.einsum("rn,rd,ri->ndi", leaves["out0"], leaves["out1"], leaves["inp0"]).reshape(6, 6)
        ),
        4 * (3 + 2 + 6),
    ),
    Case(
        "cp-output",
        CP(rank=1, init="normal"),
        Modes((6,), (3, 2)),
        lambda leaves: torch.einsum("ro,rn,rd->ond", leaves["out0"], leaves["inp0"], leaves["inp1"]).reshape(6, 6),
        1 * (6 + 3 + 2),
    ),
    Case(
        "lowrank-linear",
        LowRank(rank=3, init="normal"),
        Modes((5,), (4,)),
        _sum("or,ri->oi", "up", "down"),
        3 * (5 + 4),
    ),
    Case(
        "lowrank-conv",
        LowRank(rank=2, alpha=8.0, init="xavier"),
        Modes((5,), (4,), (3, 1)),
        _sum("or,riab->oiab", "up", "down", scale=4.0),
        2 * (4 * 3 + 5),
    ),
    Case(
        "lowrank-query",
        LowRank(rank=2, init="normal"),
        Modes((3, 2), (6,)),
        _sum("or,ri->oi", "up", "down"),
        2 * (6 + 6),
    ),
    Case(
        "entangled-order-1",
        Entangled(rank=3, tensor_rank=2, order=1, init="normal"),
        Modes((5,), (4,)),
        _entangled(5, 4),
        1 * 2 * 3 * (5 + 4),
    ),
    Case(
        "entangled-order-2",
        Entangled(rank=3, alpha=1.0, tensor_rank=2, order=2, init="xavier"),
        Modes((5,), (9,)),  # 5 is cut from 9; 9 is a perfect square
        _entangled(5, 9, scale=1 / 3),
        2 * 2 * 3 * (3 + 3),
    ),
    Case(
        "entangled-order-3",
        Entangled(rank=2, tensor_rank=3, order=3, init="normal"),
        Modes((8,), (10,)),
        _entangled(8, 10),
        3 * 3 * 2 * (2 + 3),
    ),
    Case(
        "entangled-order-4-one-term",
        Entangled(rank=2, tensor_rank=1, order=4, init="normal"),
        Modes((3, 2), (17,)),
        _entangled(6, 17),
        4 * 1 * 2 * (2 + 3),
    ),
    Case(
        "entangled-conv",
        Entangled(rank=2, tensor_rank=2, order=2, init="normal"),
        Modes((5,), (4,), (3, 3)),
        _entangled(5, 4, 3, 3),
        2 * 2 * 2 * (3 + 6),
    ),
    Case(
        "entangled-product-norm",
        Entangled(rank=2, tensor_rank=3, order=2, init="normal", product_norm=True),
        Modes((5,), (7,)),
        _entangled(5, 7, norm=True),
        2 * 3 * 2 * (3 + 3),
    ),
    Case(
        "kronecker",
        Kronecker(terms=2, rank=1, init="glorot"),
        Modes((6,), (10,)),
        _kronecker(),
        2 * (2 * 2 + 5 + 3),
    ),
    Case(
        "kronecker-rank-size",
        Kronecker(terms=4, size=3, rank=2, scale=2.5, init="glorot", slow_init=("uniform", 0.5)),
        Modes((3, 2), (9,)),
        _kronecker(2.5),
        4 * (3 * 3 + 2 * (3 + 2)),
    ),
    Case(
        "kronecker-slow-rank",
        Kronecker(terms=3, size=2, slow_rank=1, scope="model", init="glorot"),
        Modes((4,), (6,)),
        _kronecker(),
        3 * (2 + 2 + 3 + 2),
    ),
]

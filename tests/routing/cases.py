"""One row per routed rule × factorisation: the weight of a task, written out as a sum over experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from taskfold.factors import CP, Entangled, Factorisation, LowRank, Modes
from taskfold.routing import MultiHeadRouting, OrderRouting, PolyRouting, Routed, TermRouting

Bank = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    name: str
    rule: Routed
    factorisation: Factorisation
    modes: Modes
    oracle: Callable[[Bank, Tensor], Tensor]
    """The inventory, and α as `[groups, experts]`, to the dense weight `[O, I, *kernel]`."""
    inventory: int
    routing: int


LINEAR, CONV = Modes((6,), (8,)), Modes((6,), (4,), (3, 3))


def alone(factorisation: Factorisation, modes: Modes) -> Callable[[Bank], Tensor]:
    return lambda leaves: factorisation.materialise(leaves, modes)


def poly(factorisation: Factorisation, modes: Modes) -> Callable[[Bank, Tensor], Tensor]:
    """Each leaf is a sum over skills, one after another."""

    def oracle(bank: Bank, weights: Tensor) -> Tensor:
        mixed = {}
        for name, leaf in bank.items():
            mixed[name] = torch.zeros_like(leaf[0])
            for skill in range(len(leaf)):
                mixed[name] = mixed[name] + weights[0, skill] * leaf[skill]
        return factorisation.materialise(mixed, modes)

    return oracle


def mhr_lowrank(bank: Bank, weights: Tensor) -> Tensor:
    """A and B slice by slice: rows of A are output dimensions, columns of Bᵀ input dimensions."""
    up, down = [], []
    for split in range(len(weights)):
        up.append(sum(weights[split, s] * bank["up"][split, s] for s in range(weights.shape[1])))
        down.append(sum(weights[split, s] * bank["down"][split, s] for s in range(weights.shape[1])))
    return torch.einsum("or,ri...->oi...", torch.cat(up), torch.cat(down, 1))  # type: ignore[arg-type]


def terms_lowrank(bank: Bank, weights: Tensor) -> Tensor:
    return torch.einsum("k,ok,ki->oi", weights[0], bank["up"], bank["down"])


def terms_cp(bank: Bank, weights: Tensor) -> Tensor:
    return torch.einsum("k,ko,ki,kab->oiab", weights[0], bank["out0"], bank["inp0"], bank["kernel"])


def orders_cp(bank: Bank, weights: Tensor) -> Tensor:
    out, inp, kernel = (torch.einsum("k,k...->...", w, leaf) for w, leaf in zip(weights, bank.values(), strict=True))
    return torch.einsum("o,i,ab->oiab", out, inp, kernel)


def matrix(terms: list[list[Tensor]], size: int) -> Tensor:
    """Σ over terms of the column-wise Kronecker products `[r, size]` of their factors `[r, q]`."""
    total = 0
    for factors in terms:
        product = factors[0]
        for factor in factors[1:]:
            product = torch.stack([torch.kron(a, b) for a, b in zip(product, factor, strict=True)])
        total = total + product[:, :size]
    assert isinstance(total, Tensor)
    return total


def tensorpoly_i(out: int, inp: int, *kernel: int) -> Callable[[Bank, Tensor], Tensor]:
    def oracle(bank: Bank, weights: Tensor) -> Tensor:
        sides = []
        for name, size in (("up", out), ("down", inp * torch.Size(kernel).numel())):
            leaf = bank[name]
            each = [weights[0, k] * matrix([list(leaf[:, k])], size) for k in range(leaf.shape[1])]
            sides.append(torch.stack(each).sum(0))
        return (sides[0].mT @ sides[1]).reshape(out, inp, *kernel)

    return oracle


def tensorpoly_ii(bank: Bank, weights: Tensor) -> Tensor:
    sides = []
    for name, size in (("up", 6), ("down", 8)):
        leaf = bank[name]
        mixed = [
            torch.stack([weights[n, k] * leaf[n, k] for k in range(leaf.shape[1])]).sum(0) for n in range(len(leaf))
        ]
        sides.append(matrix([mixed], size))
    return sides[0].mT @ sides[1]


LOW, CP3 = LowRank(rank=3), CP(rank=3)
CASES = [
    Case("poly-lowrank", PolyRouting(skills=4), LOW, LINEAR, poly(LOW, LINEAR), 4 * 3 * 14, 4),
    Case("poly-lowrank-conv", PolyRouting(skills=2), LOW, CONV, poly(LOW, CONV), 2 * 3 * (6 + 36), 2),
    Case("poly-cp-conv", PolyRouting(skills=3), CP3, CONV, poly(CP3, CONV), 3 * 3 * (6 + 4 + 9), 3),
    Case(
        "poly-entangled",
        PolyRouting(skills=3),
        Entangled(rank=2, tensor_rank=2),
        LINEAR,
        poly(Entangled(rank=2, tensor_rank=2), LINEAR),
        3 * 2 * 2 * 2 * (3 + 3),
        3,
    ),
    Case("mhr-lowrank", MultiHeadRouting(skills=3, splits=2), LOW, LINEAR, mhr_lowrank, 3 * 3 * 14, 2 * 3),
    Case("mhr-lowrank-conv", MultiHeadRouting(skills=2, splits=2), LOW, CONV, mhr_lowrank, 2 * 3 * (6 + 36), 2 * 2),
    Case("mhr-one-split", MultiHeadRouting(skills=3, splits=1), LOW, LINEAR, mhr_lowrank, 3 * 3 * 14, 3),
    Case("terms-lowrank", TermRouting(), LOW, LINEAR, terms_lowrank, 3 * 14, 3),
    Case("terms-cp", TermRouting(), CP3, CONV, terms_cp, 3 * (6 + 4 + 9), 3),
    Case("orders-cp", OrderRouting(), CP3, CONV, orders_cp, 3 * (6 + 4 + 9), 9),
    Case(
        "tensorpoly-i-order-2",
        TermRouting(),
        Entangled(rank=2, tensor_rank=3),
        LINEAR,
        tensorpoly_i(6, 8),
        2 * 3 * 2 * (3 + 3),
        3,
    ),
    Case(
        "tensorpoly-i-order-1",
        TermRouting(),
        Entangled(rank=2, tensor_rank=3, order=1),
        LINEAR,
        tensorpoly_i(6, 8),
        1 * 3 * 2 * (6 + 8),
        3,
    ),
    Case(
        "tensorpoly-i-order-3-conv",
        TermRouting(),
        Entangled(rank=2, tensor_rank=2, order=3),
        CONV,
        tensorpoly_i(6, 4, 3, 3),
        3 * 2 * 2 * (2 + 4),
        2,
    ),
    Case(
        "tensorpoly-ii-order-2",
        OrderRouting(),
        Entangled(rank=2, tensor_rank=3),
        LINEAR,
        tensorpoly_ii,
        2 * 3 * 2 * (3 + 3),
        2 * 3,
    ),
    Case(
        "tensorpoly-ii-order-3",
        OrderRouting(),
        Entangled(rank=2, tensor_rank=4, order=3),
        LINEAR,
        tensorpoly_ii,
        3 * 4 * 2 * (2 + 2),
        3 * 4,
    ),
]

"""One row per factorisation and shape: the definition as a sum, written out, is the oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from taskfold.factors import CP, Factorisation, LowRank, Modes

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
]

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..factors import CP, Init
from ..kinds import Patterns
from ..layers import Attention, Composition, Statistics, Update, own_norms
from ..routing import sharing
from ._budgeted import AnyRank, Budgeted

__all__ = ["FTNOutput", "FTNQueryValue"]


@dataclass(frozen=True)
class FTNQueryValue(Budgeted):
    """FTN on attention, query and value: each projection a d_model × d × n tensor, 2 L R (d_model + d + n) numbers.

    Garg et al., section III.B. The paper uses rank 4, alpha 10, `normal`, learning rate 5e-6.

    Args:
        rank, alpha, init, targets, sharing, statistics: as for `FTN`.
        norm: own normalisation (γ and β); the paper's counts have none.
    """

    rank: AnyRank = 4
    alpha: float | None = 10.0
    init: Init = "zero"
    targets: Patterns = "*"
    norm: bool = False
    sharing: str | Mapping[str, Any] = "private"
    statistics: Statistics | None = None
    name: ClassVar[str] = "ftn-qv"
    projections: ClassVar[tuple[str, ...]] = ("query", "value")

    @property
    def parts(self) -> tuple[Update]:
        factorisation = CP(self.first_rank, self.alpha, self.init)
        return (Update(factorisation, Attention(self.targets, self.projections), sharing(self.sharing)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(
            (*self.on(network, self.parts), *own_norms(self.norm, self.statistics, self.parts[0].sharing))
        )


@dataclass(frozen=True)
class FTNOutput(FTNQueryValue):
    """FTN on attention, output projection: L R (d_model + d + n) numbers. The paper uses alpha 100."""

    alpha: float | None = 100.0
    name: ClassVar[str] = "ftn-output"
    projections: ClassVar[tuple[str, ...]] = ("output",)

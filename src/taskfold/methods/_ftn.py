from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..factors import CP, Init
from ..kinds import Patterns
from ..layers import Composition, Convolutions, Statistics, Update, own_norms
from ..routing import sharing
from ._budgeted import AnyRank, Budgeted

__all__ = ["FTN"]


@dataclass(frozen=True)
class FTN(Budgeted):
    """Factorised tensor networks: W_t = W + Σ_r out_r ⊗ inp_r ⊗ kernel_r on every convolution, and own normalisation.

    Garg et al., "Parameter-efficient Multi-Task and Multi-Domain Learning using Factorized Tensor Networks", III.A.

    Args:
        rank: R ≥ 1, or `{layer pattern: rank}`; R (C_in/groups + C_out + k²) numbers per layer and task (k or k³ on
            convolutions over one or three axes). `auto`: by a `budget` (see `Budgeted`).
        alpha: the update is scaled by alpha / rank; None: by 1.
        init: `zero` starts exactly at the backbone; `xavier` is the paper's; `normal` is N(0, 0.05).
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        stem: also adapt the first convolution (the paper's counts leave it out).
        norm: every task has its own γ and β of normalisation.
        statistics: of BatchNorm: `backbone` keeps the backbone's, in training too; `adapted` estimates the task's
            before it trains, and keeps them; `own` trains on batch statistics, and evaluates with their moving average.
            None: `own` for `sharing="shared"` with `norm`, else `backbone`.
        sharing: `private` (a task's own factors), `shared`, or a routed rule: `tensorpoly-i` (a task weights the R
            terms), `poly`, `{"name": "poly", "skills": 4}`, ….

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = tfold.MultiTask(net, tfold.FTN(rank=2, norm=False))
        >>> model.add_task("flowers").counts()["factors"]  # 2 · (8 + 16 + 9); the stem is left out
        66
    """

    rank: AnyRank = 8
    alpha: float | None = None
    init: Init = "zero"
    targets: Patterns = "*"
    stem: bool = False
    norm: bool = True
    sharing: str | Mapping[str, Any] = "private"
    statistics: Statistics | None = None
    name: ClassVar[str] = "ftn"

    @property
    def parts(self) -> tuple[Update]:
        factorisation = CP(self.first_rank, self.alpha, self.init)
        return (Update(factorisation, Convolutions(self.targets, self.stem), sharing(self.sharing)),)

    def compose(self, network: nn.Module) -> Composition:
        return Composition(
            (*self.on(network, self.parts), *own_norms(self.norm, self.statistics, self.parts[0].sharing))
        )

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..kinds import Patterns
from ..layers import Composition, Norms, Projections, Statistics
from ._base import Method

__all__ = ["SAID"]


@dataclass(frozen=True)
class SAID(Method):
    """Intrinsic dimension: one vector of numbers moves all parameters of the network along random directions.

    Aghajanyan, Zettlemoyer and Gupta, "Intrinsic Dimensionality Explains the Effectiveness of Language Model
    Fine-Tuning", equation 3: θ_i = θ_i⁰ + λ_i P_i z for each parameter tensor, with Fastfood projections P_i that a
    seed draws, the same on every machine. z starts at 0 and λ at 1, so that a new task is the backbone exactly.

    Args:
        dimension: d, the numbers of a task: one λ_i for each parameter tensor, the rest is z.
        seed: the seed of the projections; task files hold it.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        statistics: the statistics of BatchNorm: `backbone`, `adapted` or `own`; see `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has at least d parameter tensors.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8)), tfold.SAID(20))
        >>> model.add_task("sums").counts()["factors"]  # 4 scales, and z with 16 numbers
        20
    """

    dimension: int = 500_000
    seed: int = 0
    targets: Patterns = "*"
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "said"

    @property
    def parts(self) -> tuple[Projections]:
        return (Projections(self.targets, self.dimension, self.seed),)

    def compose(self, network: nn.Module) -> Composition:
        norms = () if self.statistics == "backbone" else (Norms(False, self.statistics),)
        return Composition((*self.parts, *norms))

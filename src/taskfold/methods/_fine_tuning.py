from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..layers import Composition, Everything, Statistics
from ._base import Method

__all__ = ["FineTuning"]


@dataclass(frozen=True)
class FineTuning(Method):
    """Full fine-tuning: every task trains a copy of the whole network. The reference, and what Taskfold saves you.

    Args:
        statistics: the statistics of BatchNorm: `backbone`, `adapted` or `own`; see `FTN`.
    """

    statistics: Statistics = "backbone"
    name: ClassVar[str] = "fine-tuning"

    def compose(self, network: nn.Module) -> Composition:
        return Composition((Everything(self.statistics),))

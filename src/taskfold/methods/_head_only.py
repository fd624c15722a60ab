from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..layers import Composition, Norms, Statistics
from ._base import Method

__all__ = ["HeadNorm", "HeadOnly"]


@dataclass(frozen=True)
class HeadOnly(Method):
    """Feature extractor: a task has only a head on the backbone's features."""

    name: ClassVar[str] = "head-only"

    def compose(self, network: nn.Module) -> Composition:
        return Composition()


@dataclass(frozen=True)
class HeadNorm(Method):
    """A task has a head and its own normalisation, γ and β.

    Args:
        statistics: the statistics of BatchNorm: `backbone`, `adapted` or `own`; see `FTN`.
    """

    statistics: Statistics = "backbone"
    name: ClassVar[str] = "head-norm"

    def compose(self, network: nn.Module) -> Composition:
        return Composition((Norms(statistics=self.statistics),))

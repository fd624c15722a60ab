"""The base of methods beside or behind the convolutions of a residual network."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import nn

from ..kinds import Patterns
from ..layers import Composition, Recipe, Shortcuts, Statistics, check_shortcuts, copied_shortcuts, own_norms
from ._base import Method


@dataclass(frozen=True)
class Residual(Method):
    """One recipe on every convolution but those of shortcuts, copies of these, and own normalisation.

    Args:
        targets: shell patterns over names of convolutions; `!pattern` leaves some out.
        shortcuts: convolutions of shortcuts (`downsample`, `shortcut`) are `copied`, so that a task trains its own, or
            `adapted` like all others.
        norm: every task has its own γ and β of normalisation.
        statistics: as for `FTN`.
    """

    targets: Patterns = "*"
    shortcuts: Shortcuts = "copied"
    norm: bool = True
    statistics: Statistics = "backbone"

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """The recipe at each convolution."""

    @property
    def parts(self) -> tuple[Recipe]:
        check_shortcuts(self.shortcuts)
        return (self.recipe,)

    def compose(self, network: nn.Module) -> Composition:
        copies = copied_shortcuts(network, self.targets, self.shortcuts)
        return Composition((*self.parts, *copies, *own_norms(self.norm, self.statistics)))

"""Updates under a constraint, with the constraint's multiplier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..factors import Group
from ..tasks import Task
from ._part import Part, parts_of
from ._recipe import Fitting
from ._update import Update

MULTIPLIER = Group("multiplier", 0.0)
NAME = "multiplier"


@dataclass(frozen=True)
class Multiplied(Update):
    """An update with a Lagrange multiplier, which every layer holds, so that any layer may be left out.

    The multiplier starts at 0. It is a buffer: in checkpoints and in the task's file, but without a gradient.
    """

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for path, name, part in super().fit(at):
            part.own.register_buffer(NAME, torch.zeros((), device=at.kind(path).device))
            part.own.groups[NAME] = MULTIPLIER
            yield path, name, part


def multipliers_of(task: Task) -> list[Tensor]:
    """The copies of a task's multiplier, one for each layer."""
    return [part.own[NAME] for _, part in parts_of(task) if NAME in part.own]

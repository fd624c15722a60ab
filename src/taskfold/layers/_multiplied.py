"""Updates under a constraint, whose multiplier is a part of the task."""

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
    """An update, and with it a number that is no parameter. Every layer holds the same one: any may be left out.

    It starts at 0, is in checkpoints and in the task's file, and no gradient moves it.
    """

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for path, name, part in super().fit(at):
            part.own.register_buffer(NAME, torch.zeros((), device=at.kind(path).device))
            part.own.groups[NAME] = MULTIPLIER
            yield path, name, part


def multipliers_of(task: Task) -> list[Tensor]:
    """The multiplier of a task, as each of its layers holds it."""
    return [part.own[NAME] for _, part in parts_of(task) if NAME in part.own]

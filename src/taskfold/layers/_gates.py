"""The recipe of gates: two logits choose whether a residual block runs or is skipped for a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..factors import Group
from ..interventions import Choose
from ..kinds import LayerKind, Patterns, Tensors
from ..tasks import Leaves, Task, kept_in
from ._part import Part, When, parts_of
from ._recipe import Fitting, Recipe
from ._residual_blocks import residual_blocks

POLICY = Group("policy", 1e-2)
"""Logits of gates, and policy nets."""


def relaxed(logits: Tensor, temperature: float, noise: bool, hard: bool = False) -> Tensor:
    """Gumbel-softmax over the last axis, without `noise` a softmax; `hard`: 0 or 1, with the soft one's gradient."""
    drawn = -torch.empty_like(logits).exponential_().log() if noise else 0.0
    soft = ((logits + drawn) / temperature).softmax(-1)
    if not hard:
        return soft
    return chosen(logits + drawn).to(soft.dtype) + (soft - soft.detach())


def chosen(logits: Tensor) -> Tensor:
    """1 for the larger of two logits (the first if they are equal), 0 for the other."""
    first = logits[..., 0] >= logits[..., 1]
    return torch.stack([first, ~first], -1)


@dataclass(frozen=True)
class Schedule:
    """The schedule of gates in training; `progress` is the share of the training that is over.

    Attributes:
        warmup: share of the training in which every block runs.
        rounds: number of rounds of the rest.
        temperature, cooling: initial temperature of the softmax, and its factor after each round.
        curriculum: rounds after which one more gate is active, from the last block backwards; 0: all are.
        noise: Gumbel noise in training.
    """

    warmup: float = 0.2
    rounds: int = 32
    temperature: float = 5.0
    cooling: float = 0.965
    curriculum: float = 1.0
    noise: bool = True

    def round(self, progress: float) -> int | None:
        """The number of the round, from 0; None: warm-up."""
        if progress < self.warmup:
            return None
        return int((progress - self.warmup) / (1 - self.warmup) * self.rounds)

    def counts(self, place: int, blocks: int, progress: float) -> bool:
        """Whether the gate of block `place` of `blocks` is active."""
        now = self.round(progress)
        return now is not None and (not self.curriculum or blocks - place <= 1 + now / self.curriculum)


class Gated(Part):
    """The gate of one block.

    Args:
        shortcut: the child that is the block's shortcut; None: the block's input.
        own: `logits`, `[2]`: run, skip.
        place, blocks: index of the block, and number of blocks.
        schedule: of the training.
    """

    anneals: ClassVar[bool] = True

    def __init__(self, shortcut: str | None, own: Leaves, place: int, blocks: int, schedule: Schedule) -> None:
        super().__init__(Choose("skip", shortcut), own)
        self.place, self.blocks, self.schedule = place, blocks, schedule

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        logits = self.own["logits"]
        if not when.training:
            return {"gates": chosen(logits).to(kind.dtype)}
        if not self.schedule.counts(self.place, self.blocks, when.progress):
            runs = torch.tensor([1.0, 0.0], device=logits.device, dtype=logits.dtype)
            return {"gates": (runs + 0 * logits).to(kind.dtype)}  # a gradient of zero
        temperature = self.schedule.temperature * self.schedule.cooling ** (self.schedule.round(when.progress) or 0)
        return {"gates": relaxed(logits, temperature, self.schedule.noise).to(kind.dtype)}


@dataclass(frozen=True)
class Gates(Recipe):
    """A gate at every residual block that `targets` selects.

    Args:
        targets: shell patterns over names of blocks; `!pattern` leaves blocks out, which then always run.
        schedule: of the training.
        start: initial value of both logits.
    """

    targets: Patterns
    schedule: Schedule
    start: float = 0.5

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        found = residual_blocks(at.network, self.targets)
        for place, (path, shortcut) in enumerate(found.items()):
            kind = at.kind(path)
            logits = torch.full((2,), self.start, dtype=kept_in(kind.dtype), device=kind.device)
            own = Leaves({"logits": nn.Parameter(logits)}, {"logits": POLICY})
            yield path, "gate", Gated(shortcut, own, place, len(found), self.schedule)


def gates_of(task: Task) -> Mapping[str, Gated]:
    """A task's gates by the block's path."""
    return {path: part for (path, _), part in parts_of(task) if isinstance(part, Gated)}

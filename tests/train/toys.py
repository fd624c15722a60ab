"""Methods for the tests of hooks: a penalty, a pass before the training, phases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskfold import LoRA, Task
from taskfold.layers import inventory_of
from taskfold.methods import Phase

CALLS = "TASKFOLD_TEST_CALLS"
"""Environment variable: a file that every call of `prepare` adds a line to."""


def factors(task: Task) -> list[nn.Parameter]:
    """A task's own factors, and those that it shares."""
    return [*task.groups()["factors"], *inventory_of(task).values()]


@dataclass(frozen=True)
class Sparse(LoRA):
    """LoRA whose factors have an L1 penalty that rises with the training."""

    strength: float = 0.01
    name: ClassVar[str] = "toy-sparse"

    def penalty(self, task: Task, progress: float) -> Tensor | None:
        if not self.strength:
            return None
        return self.strength * (1 + progress) * sum((leaf.abs().sum() for leaf in factors(task)), torch.zeros(()))


@dataclass(frozen=True)
class Largest(LoRA):
    """LoRA that keeps the half of its factors whose gradients are the largest over two passes; the rest become 0."""

    name: ClassVar[str] = "toy-largest"

    def prepare(self, task: Task, batches: Iterable[Any], score: Callable[[Any], Tensor]) -> None:
        if path := os.environ.get(CALLS):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"{task.name}\n")
        leaves = factors(task)
        sums = [torch.zeros_like(leaf) for leaf in leaves]
        for _ in range(2):
            for batch in batches:
                for total, gradient in zip(sums, torch.autograd.grad(score(batch).sum(), leaves), strict=True):
                    total += gradient.square()
        with torch.no_grad():
            for leaf, total in zip(leaves, sums, strict=True):
                leaf[total < total.median()] = 0


@dataclass(frozen=True)
class InTurn(LoRA):
    """LoRA that trains its factors, then the head, then everything."""

    name: ClassVar[str] = "toy-in-turn"

    @property
    def phases(self) -> tuple[Phase, ...]:
        return Phase(("factors",), epochs=1), Phase(("head",), epochs=2), Phase()

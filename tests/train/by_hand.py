"""Helpers of loops written out by hand: a training's inputs, and steps of plain SGD."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from taskfold import MultiTask

from .classes import classification
from .joint import ONE_STEP, SGD

STEADY = {"schedule": "constant", "warmup": 0.0, "select_by": "loss", "log_every": 1, "optimizers": ONE_STEP.optimizers}


class Recording:
    """The usual objective; remembers the batches, the progress, and every gradient that a step accumulates."""

    def __init__(self, model: MultiTask) -> None:
        self.batches: list[tuple[Any, list[str]]] = []
        self.progress: list[float] = []
        self.gradients: list[bytes] = []
        self.outside: list[float] = []
        watch(model, self.gradients)

    def __call__(self, model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        if model.training:
            self.batches.append((batch, list(tasks)))
            self.progress.append(model.progress)
        else:
            self.outside.append(model.progress)
        return classification().loss(model, batch, tasks)


def watch(model: MultiTask, gradients: list[bytes]) -> None:
    """Note every gradient as it is accumulated."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: gradients.append(p.grad.numpy().tobytes()))


def step_by_hand(model: MultiTask, loss: Tensor) -> None:
    """One step of plain SGD."""
    loss.backward()
    optimiser = SGD.build([p for p in model.parameters() if p.requires_grad])
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]

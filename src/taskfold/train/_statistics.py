"""Running statistics of BatchNorm, a task's own or common: their momentum in training, and their estimation anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from ..layers import Copied, parts_of
from ..model import MultiTask

RUNNING = ("running_mean", "running_var", "num_batches_tracked")
BATCHES = 200
"""Batches that running statistics are estimated on, at the most: thousands of images have said what they will."""


def statistics(model: MultiTask, name: str) -> dict[str, dict[str, Tensor]]:
    """The running statistics that are the task's, alone or with others, by layer; no layers: all are the backbone's."""
    found: dict[str, dict[str, Tensor]] = {}
    for (path, _), part in parts_of(model[name]):
        own = part.held() if isinstance(part, Copied) else {}
        if all(key in own for key in RUNNING):
            found[path] = {key: own[key] for key in RUNNING}
    return found


@contextmanager
def momentum(model: MultiTask, name: str, value: float | None) -> Iterator[None]:
    """Run a block with this momentum of the running statistics; None: the average of all batches, equally weighted.

    The backbone's own modules are left alone.
    """
    with model._runner.holding(statistics(model, name), momentum=value):
        yield


@torch.no_grad()
def reestimate(
    model: MultiTask, names: str | Sequence[str], batches: Iterable[Any], forward: Callable[[Any], object]
) -> None:
    """Running statistics as the average over these batches, with the weights as they are and dropout off.

    What a short training leaves in them is stale: timm's momentum of 0.01 remembers hundreds of steps.

    Args:
        model: holds the tasks.
        names: of a task, or of several that have statistics in common.
        batches: of their data.
        forward: runs them on one of the batches.
    """
    names = [names] if isinstance(names, str) else names
    for tensors in [own for name in names for own in statistics(model, name).values()]:
        tensors["running_mean"].zero_()
        tensors["running_var"].fill_(1)
        tensors["num_batches_tracked"].zero_()
    before = model.training
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(momentum(model, name, None))
        try:
            model.train(True)
            model._runner.still = True
            for batch in batches:
                forward(batch)
        finally:
            model._runner.still = False
            model.train(before)


def kept(model: MultiTask, name: str) -> dict[str, Copied]:
    """The parts of a task that hold statistics of its own which training keeps as they are, by layer."""
    found: dict[str, Copied] = {}
    for (path, _), part in parts_of(model[name]):
        if isinstance(part, Copied) and RUNNING[0] in part.own and RUNNING[2] not in part.held():
            found[path] = part
    return found


@torch.no_grad()
def adapt(
    model: MultiTask, name: str, batches: Iterable[Any], forward: Callable[[Any], object], share: float = 1.0
) -> int:
    """Estimate the statistics that a task keeps (`statistics="adapted"`), in one pass over its data.

    Args:
        model: holds the task.
        name: of the task.
        batches: of its data.
        forward: runs it on one of the batches.
        share: how much of the new statistics is the estimate; the rest is what they were.

    Returns:
        How many layers have such statistics.
    """
    parts = kept(model, name)
    held = [part.own.held()[key] for part in parts.values() for key in RUNNING[:2]]
    before = [tensor.clone() for tensor in held]
    try:
        for part in parts.values():  # who counts batches takes their statistics
            part.own.register_buffer(RUNNING[2], torch.zeros((), dtype=torch.long, device=held[0].device))
        reestimate(model, name, batches, forward)
    except BaseException:
        for tensor, old in zip(held, before, strict=True):
            tensor.copy_(old)
        raise
    finally:
        for part in parts.values():
            part.own._buffers.pop(RUNNING[2], None)
        model._runner.plans.clear()
    for tensor, old in zip(held, before, strict=True):
        tensor.lerp_(old, 1 - share)
    return len(parts)

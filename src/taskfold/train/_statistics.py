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

"""Running statistics of a task's own BatchNorm: their momentum in training, and their estimation anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import SiteState, set_mode
from ..model import MultiTask

RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def statistics(model: MultiTask, name: str) -> dict[str, dict[str, Tensor]]:
    """The running statistics that the task owns, by layer; no layers: it has none."""
    found: dict[str, dict[str, Tensor]] = {}
    for path, site in model[name].sites.named_children():
        own = site.own_tensors() if isinstance(site, SiteState) else {}
        if all(key in own for key in RUNNING):
            found[path] = {key: own[key] for key in RUNNING}
    return found


@contextmanager
def momentum(model: MultiTask, name: str, value: float | None) -> Iterator[None]:
    """Run a block with this momentum of the running statistics; None: the average of all batches, equally weighted.

    The backbone's own modules are left alone: what runs is the model's structural copy of them.
    """
    network = model._runner.network()
    layers = [network.get_submodule(path) for path in statistics(model, name)]
    before = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = value  # type: ignore[assignment]
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.momentum = old  # type: ignore[assignment]


@torch.no_grad()
def reestimate(model: MultiTask, name: str, batches: Iterable[Any], forward: Callable[[Any], object]) -> None:
    """Running statistics as the average over these batches, with the weights as they are and dropout off.

    What a short training leaves in them is stale: timm's momentum of 0.01 remembers hundreds of steps.

    Args:
        model, name: the task.
        batches: of the task's data.
        forward: runs the task on one of them.
    """
    for tensors in statistics(model, name).values():
        tensors["running_mean"].zero_()
        tensors["running_var"].fill_(1)
        tensors["num_batches_tracked"].zero_()
    before = model.training
    with momentum(model, name, None):
        try:
            model.train(True)
            set_mode(model._runner.network(), False)
            _evaluate_head(model[name].head)
            for batch in batches:
                forward(batch)
        finally:
            model.train(before)


def _evaluate_head(head: nn.Module | None) -> None:
    if head is not None:
        head.train(False)

"""Running statistics of BatchNorm, a task's own or shared ones: momentum in training, and estimation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..kinds import OneValueError
from ..layers import Copied, parts_of, statistics_of
from ..model import MultiTask
from .settings import Settings

RUNNING = ("running_mean", "running_var", "num_batches_tracked")
BATCHES = 200
"""The most batches that running statistics are estimated on: thousands of images suffice."""


def statistics(model: MultiTask, name: str) -> dict[str, dict[str, Tensor]]:
    """The running statistics, by layer, that a task has for itself or shares; no layer: it uses the backbone's."""
    found: dict[str, dict[str, Tensor]] = {}
    for (path, _), part in parts_of(model[name]):
        own = part.held() if isinstance(part, Copied) else {}
        if all(key in own for key in RUNNING):
            found[path] = {key: own[key] for key in RUNNING}
    return found


def momentum(model: MultiTask, names: Iterable[str], value: float | None) -> AbstractContextManager[None]:
    """Run a block with this momentum of the tasks' running statistics; None: the plain average of all batches.

    The backbone's own modules are unaffected.
    """
    return model._runner.holding({path for name in names for path in statistics(model, name)}, momentum=value)


def training_momentum(model: MultiTask, names: Iterable[str], value: float | None) -> AbstractContextManager[None]:
    """Like `momentum`, for a setting whose None is the backbone's momentum."""
    return nullcontext() if value is None else momentum(model, names, value)


def idle_settings(model: MultiTask, names: Iterable[str]) -> dict[str, str]:
    """The settings of BatchNorm statistics that act on no layer of these tasks, with the `statistics` they are of.

    Example:
        >>> import torch, taskfold as tfold
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        >>> model = tfold.MultiTask(net, tfold.HeadNorm(statistics="adapted"), num_features=4)
        >>> _ = model.add_task("one", head=2)
        >>> idle_settings(model, ["one"])
        {'norm_momentum': 'own'}
    """
    names = list(names)
    absent = {"adapt_norm": "adapted", "norm_momentum": "own"}
    if any(kept(model, name) for name in names):
        del absent["adapt_norm"]
    if any(statistics(model, name) for name in names):
        del absent["norm_momentum"]
    return absent


def check_heeded(settings: Settings, model: MultiTask, names: Iterable[str]) -> None:
    """Checks that settings of statistics act on some layer.

    Raises:
        ValueError: one that is not the default acts on none.
    """
    for key, kind in idle_settings(model, names).items():
        if (value := getattr(settings, key)) != (usual := type(settings).model_fields[key].default):
            raise ValueError(
                f"{key}={value!r} is of BatchNorm with statistics={kind!r}, and no task of this training has it; leave "
                f"{key} at {usual}, or choose a method with statistics={kind!r}"
            )


@torch.no_grad()
def reestimate(
    model: MultiTask, names: str | Sequence[str], batches: Iterable[Any], forward: Callable[[Any], object]
) -> None:
    """Set running statistics to the average over these batches, with the present weights and without dropout.

    After a short training the statistics are stale: timm's momentum of 0.01 averages over hundreds of steps.

    Args:
        model: holds the tasks.
        names: a task, or several that share statistics.
        batches: batches of their data.
        forward: runs the tasks on a batch.
    """
    names = [names] if isinstance(names, str) else names
    for tensors in [own for name in names for own in statistics(model, name).values()]:
        tensors["running_mean"].zero_()
        tensors["running_var"].fill_(1)
        tensors["num_batches_tracked"].zero_()
    before = model.training
    with momentum(model, names, None):
        try:
            model.train(True)
            model._runner.still = True
            for batch in batches:
                forward(batch)
        finally:
            model._runner.still = False
            model.train(before)


def trains_on_batches(model: MultiTask, names: Sequence[str]) -> bool:
    """Whether BatchNorm trains on batch statistics: a task's, a head's, or one without running statistics."""
    heads = [head for name in names if (head := model[name].head) is not None]
    if any(isinstance(module, _BatchNorm) for head in heads for module in head.modules()):
        return True
    if any(isinstance(module, _BatchNorm) and module.running_mean is None for module in model.backbone.modules()):
        return True
    held = {id(tensor) for name in names for part in kept(model, name).values() for tensor in part.held().values()}
    moving = [buffer for name in names for buffer in model[name].buffers() if id(buffer) not in held]
    return bool(moving) or any(statistics_of(model[name]) for name in names)


def kept(model: MultiTask, name: str) -> dict[str, Copied]:
    """The parts, by layer, with statistics of the task's own that training does not move."""
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

    A layer that no batch reaches keeps its statistics; if the pass fails, all layers do.

    Args:
        model: holds the task.
        name: the task's name.
        batches: batches of its data; one in which a channel has a single value is skipped.
        forward: runs the task on a batch.
        share: the weight, 0 to 1, of the estimate in the new statistics; the rest is the old value.

    Returns:
        The number of layers with new statistics.

    Raises:
        ValueError: in every batch a channel has a single value.
    """
    lone: list[OneValueError] = []

    def run(batch: Any) -> None:
        try:
            forward(batch)
        except OneValueError as error:
            lone.append(error)

    parts = kept(model, name).values()
    held = {part: [part.own.held()[key] for key in RUNNING[:2]] for part in parts}
    before = {part: [tensor.clone() for tensor in tensors] for part, tensors in held.items()}
    counts = {part: torch.zeros((), dtype=torch.long, device=held[part][0].device) for part in parts}
    reached: set[Copied] = set()
    try:
        for part in parts:  # `reestimate` sets statistics of parts with a batch counter
            part.own.register_buffer(RUNNING[2], counts[part])
        reestimate(model, name, batches, run)
        reached = {part for part in parts if part.own.held()[RUNNING[2]]}
    finally:
        for part in parts:
            part.own._buffers.pop(RUNNING[2], None)
            for tensor, old in zip(held[part], before[part], strict=True):
                tensor.lerp_(old, 1 - share if part in reached else 1.0)
        model._runner.plans.clear()
    if lone and not reached:
        raise ValueError(f"task {name!r}: statistics='adapted' cannot be estimated, {lone[0]}") from lone[0]
    return len(reached)

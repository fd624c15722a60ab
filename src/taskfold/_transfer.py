"""A new task from a trained inventory: where its routing starts, and what of it may learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import nn

from .layers import updates_of
from .routing import LOGITS, Routed
from .tasks import Task

Mode = Literal["all", "mu", "z"]
Begin = Literal["mean", "even"]


def check(mode: str, begin: str) -> None:
    """Refuse what is no mode, or no beginning.

    Raises:
        ValueError: one is not known.
    """
    for name, value, kinds in (("mode", mode, Mode), ("begin", begin, Begin)):
        if value not in get_args(kinds):
            raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(map(repr, get_args(kinds)))}")


@torch.no_grad()
def transferred(task: Task, others: Sequence[Task], mode: Mode, begin: Begin) -> None:
    """Turn a task that was just added into one that learns from the inventory as `mode` says.

    Raises:
        ValueError: the method routes nothing, or there is no other task to take the mean of.
    """
    updates = {layer: u for layer, u in updates_of(task).items() if isinstance(u.rule, Routed)}
    if not updates:
        raise ValueError(
            f"task {task.name!r} uses method {task.method['name']!r}, which routes nothing; transfer needs a routed "
            "method such as Poly, MHR or TensorPolyI"
        )
    for layer, update in updates.items():
        logits = update.own[LOGITS]
        logits.copy_(_mean(layer, task, others) if begin == "mean" else torch.zeros_like(logits))
    set_mode(task, mode)


def set_mode(task: Task, mode: str) -> None:
    """Let a task learn what `mode` says: its routing, its own copy of the factors, or both."""
    for update in updates_of(task).values():
        if isinstance(update.rule, Routed):
            update.own[LOGITS].requires_grad_(mode != "mu")
            if mode != "z":
                update.fork()
    task.transfer = mode


def _mean(layer: str, task: Task, others: Sequence[Task]) -> torch.Tensor:
    """Logits of the mean routing: sigmoid(Z) is then the mean α, which sums to 1 already."""
    key = updates_of(task)[layer].shared
    found = [updates_of(other).get(layer) for other in others]
    same = [u for u in found if u is not None and u.shared is not None and key is not None and u.shared[1] is key[1]]
    if not same:
        raise ValueError(
            f"begin='mean' takes the mean routing of the tasks on the inventory of layer {layer!r}, and the model has "
            "no other task there; load some, or choose begin='even'"
        )
    weights = [_weights(u.rule, u.own[LOGITS]) for u in same]
    return torch.stack(weights).mean(0).clamp(1e-6, 1 - 1e-6).logit()


def routing_of(task: Task) -> dict[str, torch.Tensor]:
    """A task's mixing weights α `[groups, experts]` per layer, as in evaluation."""
    with torch.no_grad():
        return {
            layer: _weights(update.rule, update.own[LOGITS]).reshape(-1, update.own[LOGITS].shape[-1])
            for layer, update in updates_of(task).items()
            if isinstance(update.rule, Routed)
        }


def _weights(rule: object, logits: torch.Tensor) -> torch.Tensor:
    assert isinstance(rule, Routed)
    return rule.mixing(logits.detach(), training=False)


def experts_of(task: Task, layer: str) -> torch.Tensor:
    """Each expert of a layer's inventory as one flat row, `[experts, numbers]`.

    Raises:
        ValueError: the task routes no such layer.
    """
    update = updates_of(task).get(layer)
    if update is None or not isinstance(update.rule, Routed) or update.bank is None:
        raise ValueError(
            f"task {task.name!r} routes no layer {layer!r}; it routes {', '.join(routing_of(task)) or 'none'}"
        )
    made = update.rule.inventory(update.specs)
    rows = [_by_expert(leaf.axes, update.bank[name]) for name, leaf in made.items()]
    return torch.cat(rows, 1).detach()


def _by_expert(axes: tuple[str, ...], bank: nn.Parameter) -> torch.Tensor:
    axis = axes.index("expert" if "expert" in axes else "term")
    return bank.movedim(axis, 0).flatten(1)

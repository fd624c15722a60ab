"""Transfer: new tasks on a trained inventory, their initial routing, and the parts that learn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..layers import Factored, inventory_of, updates_of
from ..routing import LOGITS, Routed
from ..tasks import Task, digest

Mode = Literal["all", "mu", "z"]
Begin = Literal["mean", "even"]


def check(mode: str, begin: str) -> None:
    """Checks the settings of a transfer.

    Raises:
        ValueError: one is unknown.
    """
    for name, value, kinds in (("mode", mode, Mode), ("begin", begin, Begin)):
        if value not in get_args(kinds):
            raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(map(repr, get_args(kinds)))}")


@torch.no_grad()
def transferred(task: Task, others: Sequence[Task], mode: Mode, begin: Begin) -> None:
    """Makes a new task learn from the inventory by `mode`.

    Raises:
        ValueError: the method routes nothing, or draws a routing that `mode` would learn, or there is no other task for
            the mean.
    """
    updates = {layer: u for layer, u in updates_of(task).items() if isinstance(u.rule, Routed)}
    if not updates:
        raise ValueError(
            f"task {task.name!r} uses method {task.method['name']!r}, which routes nothing; transfer needs a routed "
            "method such as Poly, MHR or TensorPolyI"
        )
    _check_allocation(task, updates.values(), mode)
    theirs = [updates_of(other) for other in others]
    used: list[Factored] = []
    for logits, layers in _scopes(updates):
        if begin == "mean":
            found = [_on_same(layer, updates[layer], theirs) for layer in layers]
            used += [update for same in found for update in same]
            # Layers of one scope have one routing: the mean of theirs. sigmoid(Z) is then α, which sums to 1 already.
            logits.copy_(torch.stack([_mean(same) for same in found]).mean(0).clamp(1e-6, 1 - 1e-6).logit())
        else:
            logits.zero_()
    remember(task, {"begin": begin, "inventory": digest(dict(inventory_of(task))), "routing": _digest(used)})
    set_mode(task, mode)


def set_mode(task: Task, mode: str) -> None:
    """Sets what a task learns: its routing, its own copy of the factors, or both."""
    for update in updates_of(task).values():
        if isinstance(update.rule, Routed):
            update.own[LOGITS].requires_grad_(mode != "mu")
            if mode == "mu":  # a fixed routing draws nothing
                update.rule = replace(update.rule, allocation="sigmoid")
            if mode != "z":
                update.fork()
    if mode == "mu":
        task.method = _undrawn(task.method)
    task.transfer = mode


def remember(task: Task, begun: Mapping[str, Any] | None) -> None:
    """Records where a transferred task began."""
    task.__dict__["begun"] = begun and dict(begun)


def begun(task: Task) -> dict[str, Any] | None:
    """The record of a transferred task: `begin`, and fingerprints of the `inventory` and of the others' `routing`."""
    return task.__dict__.get("begun")


def _check_allocation(task: Task, updates: Iterable[Factored], mode: str) -> None:
    drawn = any(isinstance(update.rule, Routed) and update.rule.allocation == "random" for update in updates)
    if not drawn or mode == "mu":
        return
    own = "allocation" in task.method["settings"]
    how = "allocation='sigmoid'" if own else "sharing={'name': …, 'allocation': 'sigmoid'}"
    raise ValueError(
        f"task {task.name!r} has allocation='random', which learns no routing, and mode={mode!r} is to learn it; give "
        f"a method with allocation='sigmoid': transfer_task(…, {how})"
    )


def _undrawn(method: dict[str, Any]) -> dict[str, Any]:
    """A method's name and settings with the allocation of evaluation."""
    settings = dict(method["settings"])
    if "allocation" in settings:
        settings["allocation"] = "sigmoid"
    elif isinstance(rule := settings.get("sharing"), Mapping) and "allocation" in rule:
        settings["sharing"] = {**rule, "allocation": "sigmoid"}
    return {**method, "settings": settings}


def _scopes(updates: Mapping[str, Factored]) -> Iterator[tuple[Tensor, list[str]]]:
    """Logits with the names of the layers that share them."""
    layers: dict[int, list[str]] = {}
    for layer, update in updates.items():
        layers.setdefault(id(update.own[LOGITS]), []).append(layer)
    for same in layers.values():
        yield updates[same[0]].own[LOGITS], same


def _on_same(layer: str, mine: Factored, theirs: Sequence[Mapping[str, Factored]]) -> list[Factored]:
    """Other tasks' updates of a layer that mix the same factors by logits of the same shape."""
    same = [update for updates in theirs if (update := updates.get(layer)) is not None and _alike(update, mine)]
    if not same:
        raise ValueError(
            f"begin='mean' takes the mean routing of the tasks on the inventory of layer {layer!r}, and the model has "
            "no other task there; load some, or choose begin='even'"
        )
    return same


def _alike(one: Factored, mine: Factored) -> bool:
    if one.inventory is None or mine.inventory is None or one.inventory[1] is not mine.inventory[1]:
        return False
    return isinstance(one.rule, Routed) and one.own[LOGITS].shape == mine.own[LOGITS].shape


def _mean(updates: Sequence[Factored]) -> Tensor:
    return torch.stack([_weights(update.rule, update.own[LOGITS]) for update in updates]).mean(0)


def _digest(updates: Sequence[Factored]) -> str | None:
    return None if not updates else digest({}, *sorted(digest({"": update.own[LOGITS]}) for update in updates))


def routing_of(task: Task) -> dict[str, Tensor]:
    """A task's mixing weights α `[groups, experts]` in evaluation, by layer."""
    with torch.no_grad():
        return {
            layer: _weights(update.rule, update.own[LOGITS]).reshape(-1, update.own[LOGITS].shape[-1])
            for layer, update in updates_of(task).items()
            if isinstance(update.rule, Routed)
        }


def _weights(rule: object, logits: Tensor) -> Tensor:
    assert isinstance(rule, Routed)
    return rule.mixing(logits.detach(), training=False)


def experts_of(task: Task, layer: str) -> Tensor:
    """The flattened experts of a layer's inventory, `[experts, numbers]`.

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


def _by_expert(axes: tuple[str, ...], bank: Tensor) -> Tensor:
    axis = axes.index("expert" if "expert" in axes else "term")
    return bank.movedim(axis, 0).flatten(1)

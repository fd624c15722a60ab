"""Ranks that come down to a budget while a task trains."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from typing import Any

import torch
from torch import Tensor

from ..layers import components_of, keep_components
from ..tasks import Task
from ._rank_policies import RankPolicy

EVENTS = 100
"""How many times in a training components may be closed and opened."""


class RankAllocator:
    """Closes components of a task until those that are open have no more numbers than the budget.

    AdaLoRA's schedule (equation 12): all are open until `policy.begin` of the steps; then the numbers come down by a
    cubic curve, and at `policy.end` it is settled which remain. Until then a closed component is zero and has a
    gradient, so that it may open again.

    Args:
        task: with updates of its own that are sums of components.
        budget: numbers that remain.
        policy: says what components are worth.
    """

    def __init__(self, task: Task, budget: int, policy: type[RankPolicy]) -> None:
        self.task, self.budget = task, budget
        self.layers = components_of(task)
        self.policy = policy(self.layers)
        self.costs = [layer.cost for layer in self.layers]
        self.all = sum(layer.rank * layer.cost for layer in self.layers)
        self.open = [[True] * layer.rank for layer in self.layers]
        self.settled, self.events = False, 0

    @property
    def numbers(self) -> int:
        """Those of the components that are open."""
        return sum(cost * sum(own) for cost, own in zip(self.costs, self.open, strict=True))

    def step(self, step: int, steps: int) -> None:
        """After a step of the optimisers, while the gradients are there; a task that had none is left alone.

        Args:
            step: from 0.
            steps: of the whole training.
        """
        if all(layer.gradients() is None for layer in self.layers):
            return
        if not self.settled:
            self.policy.observe()
            done, now = (step + 1) / steps, (step + 1) * EVENTS // steps
            if done >= self.policy.end:
                self.settle()
                return
            if now > self.events and done > self.policy.begin:
                self.events = now
                left = 1 - (done - self.policy.begin) / (self.policy.end - self.policy.begin)
                self._allocate(self.budget + int((self.all - self.budget) * left**3))
        if self.settled:
            self._close()

    def settle(self) -> None:
        """From now on those remain that are the most worth, as far as it is known."""
        if not self.settled:
            self._allocate(self.budget)
            self.settled = True
            self.policy.state.clear()

    def finish(self) -> dict[str, int]:
        """Make the task an ordinary one, whose layers have the ranks that remain.

        Returns:
            The rank of each layer, 0 for those that are left alone.
        """
        self.settle()
        self._close()
        kept = [torch.tensor([n for n, is_open in enumerate(own) if is_open], dtype=torch.long) for own in self.open]
        named = {layer.layer: which for layer, which in zip(self.layers, kept, strict=True)}
        self.reduce(named)
        return {name: len(which) for name, which in named.items()}

    def reduce(self, kept: dict[str, Tensor]) -> None:
        """Make the task an ordinary one with these components, by layer."""
        devices = [layer.rows()[0].device for layer in self.layers]
        on = {name: which.to(device) for (name, which), device in zip(kept.items(), devices, strict=True)}
        keep_components(self.task, on)
        settings = {**self.task.method["settings"], "rank": {escape(name): len(which) for name, which in kept.items()}}
        self.task.method = {**self.task.method, "settings": {**settings, "budget": None, "rank_policy": None}}

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the task."""
        return {"open": self.open, "settled": self.settled, "events": self.events, "policy": dict(self.policy.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.open, self.settled, self.events = state["open"], state["settled"], state["events"]
        device = self.layers[0].rows()[0].device
        self.policy.state = {name: tensor.to(device) for name, tensor in state["policy"].items()}

    def _allocate(self, numbers: int) -> None:
        for layer in self.layers if self.policy.aligns else ():
            layer.align()
        scores = [found.tolist() for found in self.policy.scores()]
        self.open = chosen(scores, self.costs, numbers)
        self._close()

    def _close(self) -> None:
        for layer, own in zip(self.layers, self.open, strict=True):
            if not all(own):
                layer.scale(torch.tensor(own, device=layer.rows()[0].device))


def chosen(scores: Sequence[Sequence[float]], costs: Sequence[int], numbers: int) -> list[list[bool]]:
    """Which components are taken: by score, each if there is room for it.

    Args:
        scores: of each component, by layer.
        costs: numbers of a component of each layer.
        numbers: that there is room for.

    Example:
        >>> chosen([[3.0, 1.0], [2.0, 2.0]], [10, 4], 15)
        [[True, False], [True, False]]
    """
    order = sorted((-score, layer, n) for layer, own in enumerate(scores) for n, score in enumerate(own))
    taken = [[False] * len(own) for own in scores]
    for _, layer, n in order:
        if costs[layer] <= numbers:
            taken[layer][n] = True
            numbers -= costs[layer]
    return taken

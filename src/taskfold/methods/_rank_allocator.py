"""Ranks that come down to a budget while a task trains."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from typing import Any

import torch

from ..layers import components_of, keep_components
from ..tasks import Task
from ._allocator import Allocator
from ._rank_policies import RankPolicy

EVENTS = 100
"""How many times in a training components may be closed and opened."""


class RankAllocator(Allocator):
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
        self.device = self.layers[0].rows()[0].device
        self.open = [torch.ones(layer.rank, dtype=torch.bool, device=self.device) for layer in self.layers]
        self.settled, self.events = False, 0

    @property
    def numbers(self) -> int:
        """Those of the components that are open."""
        return sum(cost * int(own.sum()) for cost, own in zip(self.costs, self.open, strict=True))

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
        kept = {layer.layer: own.nonzero().flatten() for layer, own in zip(self.layers, self.open, strict=True)}
        keep_components(self.task, kept)
        ranks = {name: len(which) for name, which in kept.items()}
        final = {"rank": {escape(name): rank for name, rank in ranks.items()}, "budget": None, "rank_policy": None}
        self.task.method = {**self.task.method, "settings": {**self.task.method["settings"], **final}}
        return ranks

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the task."""
        return {"open": [*self.open], "settled": self.settled, "events": self.events, "policy": dict(self.policy.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.open, self.settled = [own.to(self.device) for own in state["open"]], state["settled"]
        self.policy.state = {name: tensor.to(self.device) for name, tensor in state["policy"].items()}
        self.events = state["events"]

    def _allocate(self, numbers: int) -> None:
        for layer in self.layers if self.policy.aligns else ():
            layer.align()
        scores = [found.tolist() for found in self.policy.scores()]
        self.open = [torch.tensor(own, device=self.device) for own in chosen(scores, self.costs, numbers)]
        self._close()

    def _close(self) -> None:
        for layer, own in zip(self.layers, self.open, strict=True):
            layer.scale(own)


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

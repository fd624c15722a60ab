"""Reduces the ranks of a task to a budget while it trains."""

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
"""The most times in a training that components are closed and opened."""


class RankAllocator(Allocator):
    """Closes components of a task until the open ones are within the budget.

    AdaLoRA's schedule (equation 12): all are open until `policy.begin` of the steps; then the numbers come down by a
    cubic curve, and at `policy.end` the remaining ones are final. Until then a closed component is zero and has a
    gradient, so that it may open again.

    Args:
        task: has private updates that are sums of components.
        budget: the numbers that remain.
        policy: scores components.
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
        """The numbers of the open components."""
        return sum(cost * int(own.sum()) for cost, own in zip(self.costs, self.open, strict=True))

    def step(self, step: int, steps: int) -> None:
        """Update after a step of the optimisers, before gradients are cleared; skips a task without gradients.

        Args:
            step: the step's number, from 0.
            steps: the number of steps of the training.
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
        """Fix the remaining components: those of the highest known scores."""
        if not self.settled:
            self._allocate(self.budget)
            self.settled = True
            self.policy.state.clear()

    def finish(self) -> dict[str, int]:
        """Give the task's layers their final ranks.

        Returns:
            The rank of each layer, 0 for layers without an update.
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
        """The state that the next step depends on, besides the task."""
        return {"open": [*self.open], "settled": self.settled, "events": self.events, "policy": dict(self.policy.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume."""
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
    """The chosen components: by descending score, each if it fits.

    Args:
        scores: the components' scores, by layer.
        costs: the numbers of a component, by layer.
        numbers: the numbers that all chosen components may have.

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

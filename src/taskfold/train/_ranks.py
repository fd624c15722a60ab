"""Rank allocation while tasks train: ranks decrease to a budget."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from ._job import Job
from ._log import Log


class Ranks:
    """The rank allocators of the tasks whose methods have one."""

    def __init__(self, job: Job) -> None:
        self.job = job
        each = {
            name: method.rank_allocator(job.moves.tasks[name], job.model.backbone)
            for name, method in job.methods.items()
        }
        self.allocators = {name: one for name, one in each.items() if one is not None}
        for one in self.allocators.values():
            one.check(self.allocators)

    @property
    def settled(self) -> bool:
        """Whether all final ranks are known."""
        return all(one.settled for one in self.allocators.values())

    def step(self, step: int, steps: int) -> None:
        """Update the ranks after a step of the optimisers."""
        for one in self.allocators.values():
            one.step(step, steps)

    def finish(self, log: Log | None = None) -> bool:
        """Give the tasks their final ranks; returns whether any task had an allocator."""
        for name, one in self.allocators.items():
            ranks = one.finish()
            self.job.moves.tasks[name].serial = uuid4().hex  # the compiled code is for other sizes
            if log is not None:
                log.write("ranks", task=name, numbers=one.numbers, budget=one.budget, ranks=ranks)
        if self.allocators:
            self.job.model._runner.plans.clear()
        return bool(self.allocators)

    def state_dict(self) -> dict[str, Any]:
        """The allocators' state, by task."""
        return {name: one.state_dict() for name, one in self.allocators.items()}

    def load_state_dict(self, state: dict[str, Any], done: bool) -> None:
        """Resume; a finished training gets its final ranks."""
        for name, one in self.allocators.items():
            one.load_state_dict(state[name])
        if done:
            self.finish()

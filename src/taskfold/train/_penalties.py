"""The terms that methods add to the losses of their tasks."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ..methods import Method
from ._job import Job
from ._kept import Kept
from ._processes import total


class BudgetWarning(UserWarning):
    """A method has a budget, and no epoch of its training was within it."""


class Penalties:
    """The penalties of the tasks whose methods have one.

    Args:
        job: the training.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.nothing = job, torch.zeros(len(job.names), 2, device=job.device)
        self.watched: set[type[Method]] = set()
        self.tried: set[type[Method]] = set()
        self.numbers = [n for n, name in enumerate(job.names) if _has_penalty(type(job.methods[name]))]

    def of(self, tasks: Collection[int], progress: float) -> dict[int, Tensor]:
        """The penalties `[]`, at least float32, of the tasks in a batch that have one, by number.

        Args:
            tasks: numbers of the tasks that have losses in this process's share of the batch; every process adds the
                penalty of each task that has losses in any of them.
            progress: the training's, 0 to 1.

        Raises:
            ValueError: a penalty is not a scalar, has no gradient, or its method has changed the model.
        """
        if not self.numbers:
            return {}
        present = self._present(tasks)
        found = {n: self._penalty(n, progress) for n in self.numbers if n in present}
        return {n: penalty for n, penalty in found.items() if penalty is not None}

    def every(self) -> dict[str, float]:
        """The penalties of all tasks at the end of the training."""
        with torch.no_grad():
            found = self.of(range(len(self.job.names)), 1.0)
        return {self.job.names[n]: float(penalty) for n, penalty in found.items()}

    def over_budget(self) -> dict[str, float]:
        """The largest excess over a task's budget, as `over_budget`; `{}` if no method has a budget."""
        limited = {name: one for name, one in self.job.methods.items() if _has_budget(type(one))}
        if not limited:
            return {}
        return {"over_budget": max(one.over_budget(self.job.moves.tasks[name]) for name, one in limited.items())}

    def share(self, penalties: dict[int, Tensor]) -> dict[int, Tensor]:
        """This process's part of the penalties, whose gradients are summed over the processes."""
        processes = self.job.accelerator.num_processes
        return penalties if processes == 1 else {n: penalty / processes for n, penalty in penalties.items()}

    def report(self, penalties: dict[int, Tensor]) -> Tensor:
        """`[T, 2]`: each task's penalty and 1, or zeros without one; only the first process reports."""
        if not penalties or not self.job.accelerator.is_main_process:
            return self.nothing
        rows = self.nothing.clone()
        for number, penalty in penalties.items():
            rows[number, 0], rows[number, 1] = penalty.detach(), 1.0
        return rows

    def _present(self, tasks: Collection[int]) -> frozenset[int]:
        if self.job.accelerator.num_processes == 1:
            return frozenset(tasks)
        here = torch.tensor([float(n in tasks) for n in range(len(self.job.names))], device=self.job.device)
        return frozenset(n for n, count in enumerate(total(self.job.accelerator, here).tolist()) if count)

    def _penalty(self, number: int, progress: float) -> Tensor | None:
        name = self.job.names[number]
        method = self.job.methods[name]
        kept = None if type(method) in self.watched else Kept(self.job.model)
        self.watched.add(type(method))
        penalty = self._asked(name, progress)
        if kept is not None and (changed := kept.changed()):
            kept.put_back()
            raise ValueError(f"penalty of method {method.name!r} {changed}; it may read, and write to nothing")
        if penalty is None:
            return None
        if not isinstance(penalty, Tensor) or penalty.shape != () or not penalty.is_floating_point():
            found = list(penalty.shape) if isinstance(penalty, Tensor) else type(penalty).__name__
            raise ValueError(
                f"penalty of method {method.name!r} must be None or a scalar tensor of floating point, [], found "
                f"{found} for task {name!r}"
            )
        if type(method) not in self.tried and torch.is_grad_enabled():
            self.tried.add(type(method))
            if not (penalty.requires_grad or self._has_gradient(number, progress)):
                raise ValueError(
                    f"penalty of method {method.name!r} is a scalar without a gradient for task {name!r}; compute it "
                    "of the task's parameters, undetached, or return None where there is none"
                )
        return penalty.to(self.job.device, torch.promote_types(penalty.dtype, torch.float32))

    def _asked(self, name: str, progress: float) -> Tensor | None:
        """The task's penalty by itself plus that between it and the tasks of the same method."""
        method, tasks = self.job.methods[name], self.job.moves.tasks
        alone = method.penalty(tasks[name], progress)
        others = [
            tasks[other] for other, one in self.job.methods.items() if other != name and type(one) is type(method)
        ]
        between = method.penalty_between(tasks[name], others, progress) if others else None
        return between if alone is None else alone if between is None else alone + between

    def _has_gradient(self, number: int, progress: float) -> bool:
        """Whether the penalty has a gradient when every parameter trains, even those of groups still in this pass."""
        name, leaves = self.job.names[number], self.job.moves.parameters
        trained = [leaf.requires_grad for leaf in leaves]
        devices = [self.job.device] if self.job.device.type == "cuda" else []
        try:
            for leaf in leaves:
                leaf.requires_grad_(True)
            with torch.random.fork_rng(devices):
                penalty = self._asked(name, progress)
        finally:
            for leaf, was in zip(leaves, trained, strict=True):
                leaf.requires_grad_(was)
        return penalty is not None and penalty.requires_grad


def _has_budget(method: type[Method]) -> bool:
    return method.over_budget is not Method.over_budget


def _has_penalty(method: type[Method]) -> bool:
    return method.penalty is not Method.penalty or method.penalty_between is not Method.penalty_between

"""From the losses of a batch to the gradients of everything that it moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from ._processes import total, total_gradients


@dataclass(frozen=True)
class Losses:
    """The losses of this process's share of a batch.

    Attributes:
        values: `[N]`, with gradients.
        index: `[N]`, the number of the task that each is of.
        samples: in the whole batch, over all processes.
        live: they rest on something that trains in this pass; there are none that do not, or none at all, otherwise.
    """

    values: Tensor
    index: Tensor
    samples: int
    live: bool = True


class Gradients(Protocol):
    """Sets `.grad` of all that trains, alike in every process; what the batch does not touch has none."""

    def __call__(self, losses: Losses) -> None:
        """Set them; they were None before."""
        ...

    def learned(self) -> list[float]:
        """The factors that the tasks' losses have, where they are learned; empty: they are not."""
        ...


@dataclass(frozen=True)
class Plain:
    """Gradients of the sum of all losses, each weighted by its task, over the number of samples in the batch.

    Attributes:
        parameters: all that trains.
        weights: `[T]`, of each task's samples.
    """

    parameters: Sequence[Tensor]
    weights: Tensor
    accelerator: Accelerator

    @classmethod
    def of(cls, parameters: Sequence[Tensor], weights: Sequence[float], accelerator: Accelerator) -> Plain:
        """With weights as numbers."""
        return cls(parameters, torch.tensor(weights, device=accelerator.device), accelerator)

    def learned(self) -> list[float]:
        """None are."""
        return []

    def __call__(self, losses: Losses) -> None:
        """Set `.grad`."""
        if losses.live:
            self.accelerator.backward((losses.values * self.weights[losses.index]).sum() / losses.samples)
        set_gradients(self.accelerator, self.parameters, [parameter.grad for parameter in self.parameters])


@dataclass(frozen=True)
class Balanced:
    """A direction for what tasks share that an aggregator makes of one gradient per task.

    The rows of the Jacobian are the gradients of each task's mean loss, times its weight. What belongs to a task alone
    has its plain gradient. Costs one backward pass per task in the batch, and one more.

    Attributes:
        aggregate: Jacobian `[tasks in the batch, shared numbers]` → direction `[shared numbers]`.
        shared, own: the parameters that tasks share, and those of one task.
        weights: `[T]`, of each task.
    """

    aggregate: Callable[[Tensor], Tensor]
    shared: Sequence[Tensor]
    own: Sequence[Tensor]
    weights: Tensor
    accelerator: Accelerator

    @classmethod
    def of(
        cls,
        aggregate: Callable[[Tensor], Tensor],
        shared: Sequence[Tensor],
        own: Sequence[Tensor],
        weights: Sequence[float],
        accelerator: Accelerator,
    ) -> Balanced:
        """With weights as numbers."""
        return cls(aggregate, shared, own, torch.tensor(weights, device=accelerator.device), accelerator)

    def learned(self) -> list[float]:
        """None are."""
        return []

    def __call__(self, losses: Losses) -> None:
        """Set `.grad`."""
        weighted = losses.values * self.weights[losses.index]
        here = torch.zeros_like(self.weights).index_add_(
            0, losses.index, torch.ones_like(weighted.detach(), dtype=self.weights.dtype)
        )
        counts = total(self.accelerator, here).tolist()
        rows = [
            self._row((weighted * (losses.index == number)).sum() / count, bool(mine) and losses.live)
            for number, (mine, count) in enumerate(zip(here.tolist(), counts, strict=True))
            if count
        ]
        own: Sequence[Tensor | None] = [None] * len(self.own)
        if losses.live:
            own = _gradients(weighted.sum() / losses.samples, self.own, retain=False)
        set_gradients(self.accelerator, self.own, own)
        used = [n for n in range(len(self.shared)) if any(row[n] is not None for row in rows)]
        if not used:
            return
        zeros = {n: torch.zeros_like(self.shared[n]) for n in used}
        flat = [torch.cat([_or(row[n], zeros[n]).flatten() for n in used]) for row in rows]
        direction = self._direction(torch.stack(flat))
        parts = direction.split([self.shared[n].numel() for n in used])
        for n, part in zip(used, parts, strict=True):
            self.shared[n].grad = part.reshape(self.shared[n].shape).clone()

    def _row(self, loss: Tensor, mine: bool) -> list[Tensor | None]:
        here = _gradients(loss, self.shared, retain=True) if mine else [None] * len(self.shared)
        return total_gradients(self.accelerator, self.shared, here)

    def _direction(self, jacobian: Tensor) -> Tensor:
        if not bool(torch.isfinite(jacobian).all()):
            return jacobian.mean(0)  # the loop will say that the loss is no number
        made = self.aggregate(jacobian)
        # Some aggregators draw lots.
        return made if self.accelerator.num_processes == 1 else broadcast(made)  # type: ignore[return-value]


def _gradients(loss: Tensor, parameters: Sequence[Tensor], *, retain: bool) -> list[Tensor | None]:
    if not parameters:
        return []
    return list(torch.autograd.grad(loss, list(parameters), retain_graph=retain, allow_unused=True))


def set_gradients(accelerator: Accelerator, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Set `.grad` to the sum over the processes; what no process has a gradient of keeps none."""
    for parameter, gradient in zip(parameters, total_gradients(accelerator, parameters, gradients), strict=True):
        parameter.grad = gradient


def _or(gradient: Tensor | None, otherwise: Tensor) -> Tensor:
    return otherwise if gradient is None else gradient

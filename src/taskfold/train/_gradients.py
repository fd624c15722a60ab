"""From the losses of a batch to gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
        index: `[N]`, the number of each loss's task.
        samples: the number of samples in the whole batch, over all processes.
        live: the losses depend on a parameter that trains in this pass; False also if there are none.
        penalties: `[]` by number of the task: this process's part of the method's penalty, in every process for each
            task that has losses in any process.
    """

    values: Tensor
    index: Tensor
    samples: int
    live: bool = True
    penalties: Mapping[int, Tensor] = field(default_factory=dict)

    def weighted(self, values: Tensor, weights: Tensor) -> Tensor | None:
        """The weighted losses per sample plus the weighted penalties; None: nothing trains."""
        terms = [values.sum() / self.samples] if self.live else []
        return added([*terms, *(weights[n] * one for n, one in self.penalties.items() if one.requires_grad)])


def added(terms: Sequence[Tensor]) -> Tensor | None:
    return sum(terms[1:], terms[0]) if terms else None


class Gradients(Protocol):
    """Sets `.grad` of all trainable parameters, equal in every process; None for those outside the batch."""

    def __call__(self, losses: Losses) -> None:
        """Set the gradients, which were None before."""
        ...

    def learned(self) -> list[float]:
        """The learned factors on the tasks' losses; empty: the factors are fixed."""
        ...


@dataclass(frozen=True)
class Plain:
    """Gradients of the sum of all losses, each weighted by its task, over the number of samples in the batch.

    The penalty of each task's method is added, with the same weight.

    Attributes:
        parameters: all trainable parameters.
        weights: `[T]`, the tasks' factors on losses.
    """

    parameters: Sequence[Tensor]
    weights: Tensor
    accelerator: Accelerator

    @classmethod
    def of(cls, parameters: Sequence[Tensor], weights: Sequence[float], accelerator: Accelerator) -> Plain:
        return cls(parameters, torch.tensor(weights, device=accelerator.device), accelerator)

    def learned(self) -> list[float]:
        return []

    def loss(self, losses: Losses) -> Tensor | None:
        """The loss `[]` to differentiate; None: nothing trains."""
        return losses.weighted(losses.values * self.weights[losses.index], self.weights)

    def __call__(self, losses: Losses) -> None:
        loss = self.loss(losses)
        if loss is not None:
            self.accelerator.backward(loss)
        set_gradients(self.accelerator, self.parameters, [parameter.grad for parameter in self.parameters])


@dataclass(frozen=True)
class Balanced:
    """Gradients by an aggregator of TorchJD, which combines the tasks' gradients on shared parameters.

    The rows of the Jacobian are the gradients of each task's mean loss and of its method's penalty, times its weight.
    A task's own parameters get their plain gradient. Costs one backward pass per task in the batch, and one more.

    Attributes:
        aggregate: Jacobian `[tasks in the batch, shared numbers]` → direction `[shared numbers]`.
        shared, own: the parameters of several tasks, and those of one task.
        weights: `[T]`, the tasks' factors.
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
        return cls(aggregate, shared, own, torch.tensor(weights, device=accelerator.device), accelerator)

    def learned(self) -> list[float]:
        return []

    def __call__(self, losses: Losses) -> None:
        weighted = losses.values * self.weights[losses.index]
        here = torch.zeros_like(self.weights).index_add_(
            0, losses.index, torch.ones_like(weighted.detach(), dtype=self.weights.dtype)
        )
        counts = total(self.accelerator, here).tolist()
        rows = [
            self._row(losses, weighted, number, mine, count)
            for number, (mine, count) in enumerate(zip(here.tolist(), counts, strict=True))
            if count
        ]
        whole = losses.weighted(weighted, self.weights)
        set_gradients(self.accelerator, self.own, _gradients(whole, self.own, retain=False))
        used = [n for n in range(len(self.shared)) if any(row[n] is not None for row in rows)]
        if not used:
            return
        zeros = {n: torch.zeros_like(self.shared[n]) for n in used}
        flat = [torch.cat([_or(row[n], zeros[n]).flatten() for n in used]) for row in rows]
        direction = self._direction(torch.stack(flat))
        parts = direction.split([self.shared[n].numel() for n in used])
        for n, part in zip(used, parts, strict=True):
            self.shared[n].grad = part.reshape(self.shared[n].shape).clone()

    def _row(self, losses: Losses, weighted: Tensor, number: int, mine: float, count: float) -> list[Tensor | None]:
        """A row of the Jacobian, for a task with `mine` losses in this process and `count` in all processes."""
        terms = [(weighted * (losses.index == number)).sum() / count] if mine and losses.live else []
        if (penalty := losses.penalties.get(number)) is not None and penalty.requires_grad:
            terms.append(self.weights[number] * penalty)
        return total_gradients(self.accelerator, self.shared, _gradients(added(terms), self.shared, retain=True))

    def _direction(self, jacobian: Tensor) -> Tensor:
        if not bool(torch.isfinite(jacobian).all()):
            return jacobian.mean(0)  # the loop reports losses that are not finite
        made = self.aggregate(jacobian)
        # Some aggregators draw random numbers.
        return made if self.accelerator.num_processes == 1 else broadcast(made)  # type: ignore[return-value]


def _gradients(loss: Tensor | None, parameters: Sequence[Tensor], *, retain: bool) -> list[Tensor | None]:
    if not parameters or loss is None:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, list(parameters), retain_graph=retain, allow_unused=True))


def set_gradients(accelerator: Accelerator, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Set `.grad` to the sum over the processes; a parameter without a gradient in every process keeps None."""
    for parameter, gradient in zip(parameters, total_gradients(accelerator, parameters, gradients), strict=True):
        parameter.grad = gradient


def _or(gradient: Tensor | None, otherwise: Tensor) -> Tensor:
    return otherwise if gradient is None else gradient

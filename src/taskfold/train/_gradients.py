"""From the losses of a batch to the gradients of everything that it moves."""

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
        index: `[N]`, the number of the task that each is of.
        samples: in the whole batch, over all processes.
        live: they rest on something that trains in this pass; there are none that do not, or none at all, otherwise.
        penalties: `[]` by number of the task: this process's part of what the task's method adds to its loss, in every
            process for each task that has losses in some process.
    """

    values: Tensor
    index: Tensor
    samples: int
    live: bool = True
    penalties: Mapping[int, Tensor] = field(default_factory=dict)

    def weighted(self, values: Tensor, weights: Tensor) -> Tensor | None:
        """The weighted losses `[N]` over the samples, and the weighted penalties, added up; None: nothing trains."""
        terms = [values.sum() / self.samples] if self.live else []
        return added([*terms, *(weights[n] * one for n, one in self.penalties.items() if one.requires_grad)])


def added(terms: Sequence[Tensor]) -> Tensor | None:
    """The sum of these; None: there are none."""
    return sum(terms[1:], terms[0]) if terms else None


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

    The penalty of each task's method is added, weighted likewise.

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

    def loss(self, losses: Losses) -> Tensor | None:
        """`[]`, what the gradients are of; None: nothing trains."""
        return losses.weighted(losses.values * self.weights[losses.index], self.weights)

    def __call__(self, losses: Losses) -> None:
        """Set `.grad`."""
        loss = self.loss(losses)
        if loss is not None:
            self.accelerator.backward(loss)
        set_gradients(self.accelerator, self.parameters, [parameter.grad for parameter in self.parameters])


@dataclass(frozen=True)
class Balanced:
    """A direction for what tasks share that an aggregator makes of one gradient per task.

    The rows of the Jacobian are the gradients of each task's mean loss and of its method's penalty, times its weight.
    What belongs to a task alone has its plain gradient. Costs one backward pass per task in the batch, and one more.

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
        """Of one task, which has `mine` losses in this process and `count` in all of them."""
        terms = [(weighted * (losses.index == number)).sum() / count] if mine and losses.live else []
        if (penalty := losses.penalties.get(number)) is not None and penalty.requires_grad:
            terms.append(self.weights[number] * penalty)
        return total_gradients(self.accelerator, self.shared, _gradients(added(terms), self.shared, retain=True))

    def _direction(self, jacobian: Tensor) -> Tensor:
        if not bool(torch.isfinite(jacobian).all()):
            return jacobian.mean(0)  # the loop will say that the loss is no number
        made = self.aggregate(jacobian)
        # Some aggregators draw lots.
        return made if self.accelerator.num_processes == 1 else broadcast(made)  # type: ignore[return-value]


def _gradients(loss: Tensor | None, parameters: Sequence[Tensor], *, retain: bool) -> list[Tensor | None]:
    if not parameters or loss is None:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, list(parameters), retain_graph=retain, allow_unused=True))


def set_gradients(accelerator: Accelerator, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Set `.grad` to the sum over the processes; what no process has a gradient of keeps none."""
    for parameter, gradient in zip(parameters, total_gradients(accelerator, parameters, gradients), strict=True):
        parameter.grad = gradient


def _or(gradient: Tensor | None, otherwise: Tensor) -> Tensor:
    return otherwise if gradient is None else gradient

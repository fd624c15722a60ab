"""Losses weighted by the tasks' learned uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ._gradients import Losses, set_gradients
from ._processes import total

UNCERTAINTY = "uncertainty"
"""The name of the group of parameters with the learned weights."""


@dataclass(frozen=True)
class Uncertainty:
    """Gradients of Σ_t ½·exp(−s_t)·L_t + ½·s_t, over the tasks t in the batch (Kendall et al., 2018).

    L_t is the sum of the task's losses over the number of samples in the batch, and the penalty of its method, times
    its fixed weight; s_t, the logarithm of a variance, is learned. A task that is not in the batch has no term.

    Attributes:
        parameters: the other trained parameters.
        logs: s_t of each task, `[]` each.
        weights: `[T]`, the fixed factors.
    """

    parameters: Sequence[Tensor]
    logs: Sequence[nn.Parameter]
    weights: Tensor
    accelerator: Accelerator

    def learned(self) -> list[float]:
        """The factor on each task's losses: its fixed weight times ½·exp(−s)."""
        return self._factors().tolist()

    def __call__(self, losses: Losses) -> None:
        ones = torch.ones_like(losses.values.detach(), dtype=self.weights.dtype)
        here = torch.zeros_like(self.weights).index_add_(0, losses.index, ones)
        there = [count > 0 for count in total(self.accelerator, here).tolist()]
        factors = self._factors()
        loss = (losses.values * factors[losses.index]).sum() / losses.samples
        for number, penalty in losses.penalties.items():
            loss = loss + factors[number] * penalty
        for log, present in zip(self.logs, there, strict=True):
            if present:  # every process adds its part, since their gradients are summed
                loss = loss + 0.5 * log / self.accelerator.num_processes
        self.accelerator.backward(loss)
        own = [log.grad if present else None for log, present in zip(self.logs, there, strict=True)]
        everything = [*self.parameters, *self.logs]
        set_gradients(self.accelerator, everything, [*(p.grad for p in self.parameters), *own])

    def _factors(self) -> Tensor:
        return self.weights * 0.5 * torch.exp(-torch.stack(list(self.logs)))


def started(tasks: int, device: torch.device) -> list[nn.Parameter]:
    """Initial values s_t = 0: every loss has the factor ½."""
    return [nn.Parameter(torch.zeros((), device=device)) for _ in range(tasks)]

"""Trainings in small, which are taken back: what the loss comes to at given learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ._job import Job
from ._optimisers import Optimisers
from ._passes import Pass, Regime
from ._processes import total
from ._steps import Steps

RISING = 0.25
"""A trial's rates rise for this share of its steps, where those of the training rise at all."""
HOPELESS = 4.0
"""A loss of so many times the first ends a trial, as one does that is not finite."""


class Trials:
    """Trials of a training, each from the weights that there are and on the batches that the training begins with.

    A trial is the training in small: its few steps go through the whole schedule of learning rates, and `progress`
    from 0 to 1.

    Args:
        job: the training.
        made: its steps.
        length: steps of a trial.
    """

    def __init__(self, job: Job, made: Steps, length: int) -> None:
        self.job, self.made, self.length = job, made, length
        self.settings = job.settings.model_copy(update={"warmup": RISING if job.settings.warmup else 0.0})
        self.taken = 0

    def losses(self, regime: Regime, tops: Mapping[str, float]) -> list[float]:
        """The loss of each batch before the step on it; fewer than `length` if the trial diverged.

        What the trial moves is put back, and random numbers are drawn anew at each step of a training: the training
        goes on as if there had been no trial.

        Args:
            regime: what trains, and how.
            tops: the learning rates of groups that do not have their optimisers', at the schedule's top.
        """
        found: list[float] = []
        batches, whole = self.made.batches, len(self.made.batches)
        with self._taken_back(tops) as optimisers:
            for number in range(-(-self.length // whole)):
                one = Pass(regime, number, 0, min(whole, self.length - len(found)))
                with self.made.of(one, 0, len(found), self.length, optimisers) as steps:
                    for batch, step in enumerate(steps):
                        step.do()
                        self.taken += 1
                        loss = self._weighed(regime, step.seen, batches.total(batch))
                        if not math.isfinite(loss) or (found and loss - found[0] > (HOPELESS - 1) * abs(found[0])):
                            return found
                        found.append(loss)
        return found

    def _weighed(self, regime: Regime, seen: Tensor, samples: int) -> float:
        """The loss over all processes as the training reports it, and the penalties of methods."""
        rows = zip(regime.weights, total(self.job.accelerator, seen).tolist(), strict=True)
        return sum(weight * (losses / samples + penalty) for weight, (losses, _, penalty, _) in rows)

    @contextmanager
    def _taken_back(self, tops: Mapping[str, float]) -> Iterator[Optimisers]:
        job, scaler = self.job, self.job.accelerator.scaler
        before, scale = job.moves.snapshot(), scaler.state_dict() if scaler is not None else {}
        chosen = {
            group: one.model_copy(update={"lr": tops.get(group, one.lr)}) for group, one in job.optimisers.items()
        }
        optimisers = Optimisers(job.moves.optimised, chosen, self.settings, job.accelerator, self.length)
        try:
            yield optimisers
        except torch.linalg.LinAlgError:  # of weights that are not finite
            pass
        finally:
            optimisers.clear()
            job.moves.restore(before)
            if scaler is not None:
                scaler.load_state_dict(scale)

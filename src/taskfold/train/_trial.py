"""Trial trainings at given learning rates, whose changes are undone."""

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
"""The share of a trial's steps in which its rates rise, if those of the training rise at all."""
HOPELESS = 4.0
"""A trial ends at this many times its first loss, or at a loss that is not finite."""


class Trials:
    """Trials of a training, each from the present weights and on the training's first batches.

    A trial is the training in small: its few steps go through the whole schedule of learning rates, and `progress`
    from 0 to 1.

    Args:
        job: the training.
        made: the training's steps.
        length: the steps of a trial.
    """

    def __init__(self, job: Job, made: Steps, length: int) -> None:
        self.job, self.made, self.length = job, made, length
        self.settings = job.settings.model_copy(update={"warmup": RISING if job.settings.warmup else 0.0})
        self.taken = 0

    def losses(self, regime: Regime, tops: Mapping[str, float]) -> list[float]:
        """The loss of each batch before the step on it; fewer than `length` if the trial diverged.

        The trial's changes are undone, and each training step seeds its own random numbers: the training
        continues as if there had been no trial.

        Args:
            regime: what trains, and how.
            tops: peak learning rates of groups that replace their optimisers'.
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
        """The loss over all processes as the training reports it, plus the methods' penalties."""
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
        except torch.linalg.LinAlgError:  # from weights that are not finite
            pass
        finally:
            optimisers.clear()
            job.moves.restore(before)
            if scaler is not None:
                scaler.load_state_dict(scale)

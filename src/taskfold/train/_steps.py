"""The steps of a pass: data, losses, gradients, and one step of the optimisers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ._data import Joined, Keyed
from ._gradients import Losses
from ._job import Job
from ._objective import Rows
from ._optimisers import Optimisers
from ._passes import Pass, still
from ._sampler import Switch
from ._seeds import reseed


class Steps:
    """The training data, and what becomes of them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.batches, self.switch = job.batches(job.mixture), Switch([])
        joined = Joined([one.train for one in job.sets.values()])
        self.loader = job.loader(Keyed(joined, job.settings.seed), self.switch)

    @contextmanager
    def of(self, one: Pass, batch: int, step: int, optimisers: Optimisers) -> Iterator[Iterator[Tensor]]:
        """The steps of a pass from this batch on, made as they are asked for; what does not train in it is still.

        Args:
            one: the pass.
            batch: of the pass, from 0.
            step: of the whole training.
            optimisers: of all that trains.

        Yields:
            For each step `[T, 2]`: the sum of this process's losses and their number, by task.
        """
        self.batches.go_to(one.number, batch, one.steps)
        self.switch.source = self.batches
        self.job.model.train(True)
        optimisers.clear()
        with still(one.turn.still):
            yield self._steps(one, batch, step, optimisers)

    def _steps(self, one: Pass, batch: int, step: int, optimisers: Optimisers) -> Iterator[Tensor]:
        job = self.job
        for ahead, (owners, inputs) in enumerate(self.loader):
            reseed(job.settings.seed, "step", step + ahead, job.accelerator.process_index)
            optimisers.clear()
            rows = self._losses(owners, inputs)
            live = not rows.tasks <= one.turn.idle
            one.turn.gradients(Losses(rows.values, rows.index, self.batches.total(batch + ahead), live))
            optimisers.step(step + ahead)
            seen = torch.stack([rows.values.detach(), torch.ones_like(rows.values)], 1).float()
            yield torch.zeros(len(job.names), 2, device=seen.device).index_add_(0, rows.index, seen)

    def _losses(self, owners: Sequence[int], batch: Any) -> Rows:
        job = self.job
        wanted = [number for place in dict.fromkeys(owners) for number in job.members[place]]
        batch = send_to_device(batch, job.device, non_blocking=True)
        with job.accelerator.autocast():
            return job.objective.losses(job.model, batch, owners, wanted)

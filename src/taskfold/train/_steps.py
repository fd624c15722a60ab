"""The steps of a pass: data, losses, gradients, and one step of the optimisers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ..model import Features, keeping
from ..threads import Threads
from ._data import Joined, Keyed
from ._gradients import Losses
from ._job import Job
from ._objective import Rows
from ._optimisers import Optimisers
from ._passes import Pass, still
from ._penalties import Penalties
from ._sampler import Switch
from ._seeds import reseed


class Steps:
    """The training data, and what becomes of them; `threads` times each step, but not the loading of its batch."""

    def __init__(self, job: Job, threads: Threads) -> None:
        self.job, self.penalties, self.threads = job, Penalties(job), threads
        self.batches, self.switch = job.batches(job.mixture), Switch([])
        joined = Joined([one.train for one in job.sets.values()])
        self.keyed = Keyed(joined, job.settings.seed, job.settings.cache_views)
        self.loader = job.loader(self.keyed, self.switch)
        self.features: Features | None = None

    @contextmanager
    def of(self, one: Pass, batch: int, step: int, steps: int, optimisers: Optimisers) -> Iterator[Iterator[Tensor]]:
        """The steps of a pass from this batch on, made as they are asked for; what does not train in it is still.

        Args:
            one: the pass.
            batch: of the pass, from 0.
            step: of the whole training, which has so many `steps`.
            optimisers: of all that trains.

        Yields:
            For each step `[T, 4]`, by task: the sum of this process's losses and their number; the penalty of its
            method, and 1 where there is one, of the first process.
        """
        self.batches.go_to(one.number, batch, one.steps)
        self.switch.source = self.batches
        self.job.model.train(True)
        optimisers.clear()
        try:
            with still(one.regime.still):
                yield self._steps(one, batch, step, steps, optimisers)
        finally:
            self.job.model.progress = 1.0

    def _steps(self, one: Pass, batch: int, step: int, steps: int, optimisers: Optimisers) -> Iterator[Tensor]:
        job = self.job
        for ahead, (owners, inputs) in enumerate(self.loader):
            with self.threads.piece(len(owners)):
                reseed(job.settings.seed, "step", step + ahead, job.accelerator.process_index)
                optimisers.clear()
                job.model.progress = (step + ahead) / steps
                rows = self._losses(owners, inputs)
                penalties = self.penalties.of(rows.tasks, job.model.progress)
                live, share = not rows.tasks <= one.regime.idle, self.penalties.share(penalties)
                self.threads.halfway(len(owners))
                one.regime.gradients(Losses(rows.values, rows.index, self.batches.total(batch + ahead), live, share))
                optimisers.step(step + ahead)
            seen = torch.stack([rows.values.detach(), torch.ones_like(rows.values)], 1).float()
            sums = torch.zeros(len(job.names), 2, device=seen.device).index_add_(0, rows.index, seen)
            yield torch.cat([sums, self.penalties.report(penalties)], 1)

    def _losses(self, owners: Sequence[int], batch: Any) -> Rows:
        job = self.job
        wanted = [number for place in dict.fromkeys(owners) for number in job.members[place]]
        batch = send_to_device(batch, job.device, non_blocking=True)
        batch = job.objective.varied(batch, owners)
        with job.accelerator.autocast(), keeping(self.features):
            return job.objective.losses(job.model, batch, owners, wanted)

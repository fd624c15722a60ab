"""The steps of a pass: data, losses, gradients, optimisers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from ._passes import Pass, Regime, still
from ._penalties import Penalties
from ._sampler import Switch
from ._seeds import reseed


@dataclass(eq=False)
class Step:
    """A step to do, with its batch loaded.

    Attributes:
        of: the training's steps.
        regime: what the step trains.
        owners: the number of each sample's data set.
        inputs: the loaded batch.
        number: the step's number, from 0, among the `steps` of the training.
        samples: the samples of the whole batch, over all processes.
        optimisers: the optimisers of all trained parameters.
        seen: once done, `[T, 4]`, by task: the sum and the number of this process's losses; the method's penalty and
            1, if there is one, from the first process.
    """

    of: Steps
    regime: Regime
    owners: Sequence[int]
    inputs: Any
    number: int
    steps: int
    samples: int
    optimisers: Optimisers
    seen: Tensor = field(init=False, repr=False)

    @property
    def progress(self) -> float:
        """The training's progress, 0 to 1."""
        return self.number / self.steps

    def do(self) -> None:
        """Compute losses and gradients, and step the optimisers."""
        job, threads, rows = self.of.job, self.of.threads, len(self.owners)
        with threads.piece(rows):
            batch = self.begin()
            with job.accelerator.autocast(), keeping(self.of.features):
                found = self.rows(job.model, batch)
            losses = self.losses(found)
            threads.halfway(rows)
            self.regime.gradients(losses)
            self.optimisers.step(self.number)

    def begin(self) -> Any:
        """The batch as the network gets it; seeds the random numbers of the step."""
        job = self.of.job
        reseed(job.settings.seed, "step", self.number, job.accelerator.process_index)
        self.optimisers.clear()
        job.model.progress = self.progress
        return job.objective.varied(send_to_device(self.inputs, job.device, non_blocking=True), self.owners)

    def rows(self, model: Any, batch: Any) -> Rows:
        """The objective's losses of the batch from `begin`; `model` may be a stand-in."""
        job = self.of.job
        wanted = [number for place in dict.fromkeys(self.owners) for number in job.members[place]]
        return job.objective.losses(model, batch, self.owners, wanted)

    def losses(self, rows: Rows) -> Losses:
        """The losses with the methods' penalties; sets `seen`."""
        penalties = self.of.penalties.of(rows.tasks, self.progress)
        seen = torch.stack([rows.values.detach(), torch.ones_like(rows.values)], 1).float()
        sums = torch.zeros(len(self.of.job.names), 2, device=seen.device).index_add_(0, rows.index, seen)
        self.seen = torch.cat([sums, self.of.penalties.report(penalties)], 1)
        live, share = not rows.tasks <= self.regime.idle, self.of.penalties.share(penalties)
        return Losses(rows.values, rows.index, self.samples, live, share)


class Steps:
    """The training data and their steps; `threads` times each step without the loading of its batch."""

    def __init__(self, job: Job, threads: Threads) -> None:
        self.job, self.penalties, self.threads = job, Penalties(job), threads
        self.batches, self.switch = job.batches(job.mixture), Switch([])
        joined = Joined([one.train for one in job.sets.values()])
        self.keyed = Keyed(joined, job.settings.seed, job.settings.cache_views)
        self.loader = job.loader(self.keyed, self.switch)
        self.features: Features | None = None

    @contextmanager
    def of(self, one: Pass, batch: int, step: int, steps: int, optimisers: Optimisers) -> Iterator[Iterator[Step]]:
        """The steps of a pass from this batch on; only the regime's parameters train.

        Args:
            one: the pass.
            batch: the first batch of the pass, from 0.
            step: the first step's number in the training, which has `steps` steps.
            optimisers: the optimisers of all trained parameters.

        Yields:
            Each step, after the previous one is done.
        """
        self.batches.go_to(one.number, batch, one.steps)
        self.switch.source = self.batches
        self.job.model.train(True)
        optimisers.clear()
        try:
            with still(one.regime.still):
                yield (
                    Step(self, one.regime, owners, inputs, step + n, steps, self.batches.total(batch + n), optimisers)
                    for n, (owners, inputs) in enumerate(self.loader)
                )
        finally:
            self.job.model.progress = 1.0

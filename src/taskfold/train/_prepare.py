"""Runs methods' `prepare` before the first step, on training data in a fixed order and their losses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader

from ..methods import Method
from ._data import Joined, Keyed
from ._job import Job
from ._kept import Kept
from ._processes import send
from ._sampler import Key, Switch
from ._seeds import mixed, reseed
from ._statistics import BATCHES, adapt, kept

ADAPTING = 32
"""Samples, at least, in a batch that statistics are estimated on: variances of few samples are unreliable."""


class Batches:
    """The training data of one task: every sample once, in an order drawn from the seed; each iteration starts anew.

    Args:
        job: the training.
        number: the task's number.
        least: the least samples in a batch; batches then have nearly equal sizes.
        size: samples in a batch; None: the training's.
    """

    def __init__(self, job: Job, number: int, least: int = 0, size: int | None = None) -> None:
        self.job, self.number, self.drawn = job, number, 0
        joined = Joined([one.unaugmented for one in job.sets.values()])
        place = next(place for place, numbers in enumerate(job.members) if number in numbers)
        first, last = (int(offset) for offset in joined.offsets[place : place + 2])
        generator = torch.Generator().manual_seed(mixed(job.settings.seed, "prepare", place))
        order = (first + torch.randperm(last - first, generator=generator)).tolist()
        size = max(size or job.settings.batch_size, least)
        size = -(-len(order) // -(-len(order) // size)) if least else size
        keys: list[list[Key]] = [[(0, n) for n in order[at : at + size]] for at in range(0, len(order), size)]
        self.loader: DataLoader[Any] = job.loader(Keyed(joined, job.settings.seed), Switch(keys))

    def __iter__(self) -> Iterator[Any]:
        """Batches for `score`, on the training's device."""
        for batch, (owners, inputs) in enumerate(self.loader):
            reseed(self.job.settings.seed, "prepare", self.number, batch)
            self.drawn += 1
            yield owners, send_to_device(inputs, self.job.device, non_blocking=True)

    def score(self, batch: Any) -> Tensor:
        """Losses `[n]`, with gradients, of the samples with a target for the task; `[0]` without any."""
        owners, inputs = batch
        with torch.enable_grad(), self.job.accelerator.autocast():
            values = self.job.objective.losses(self.job.model, inputs, owners, [self.number]).values
            if len(values):
                return values
            return torch.stack([0.0 * leaf.sum() for leaf in self.job.moves.parameters]).sum().expand(0)


class Preparation:
    """The tasks whose methods look at data before the training."""

    def __init__(self, job: Job) -> None:
        self.job = job
        asked = [n for n, name in enumerate(job.names) if type(job.methods[name]).prepare is not Method.prepare]
        adapts = [n for n, name in enumerate(job.names) if kept(job.model, name)]
        self.adapting = {number: Batches(job, number, ADAPTING) for number in adapts}
        sizes = [job.methods[name].prepare_batch for name in job.names]
        self.batches = {number: Batches(job, number, size=sizes[number]) for number in sorted({*asked, *adapts})}

    def clear(self) -> None:
        self.batches.clear()
        self.adapting.clear()

    def run(self, number: int) -> dict[str, Any]:
        """Call `prepare` of one task's method; every process then takes the first process's tensors.

        Returns:
            Entries for the log.

        Raises:
            ValueError: the method has registered, replaced or frozen something, or written to a tensor that this
                training does not move.
        """
        job, name = self.job, self.job.names[number]
        method, moves = job.methods[name], job.moves
        batches = self.batches.pop(number)
        before, held = _shapes(moves.live()), Kept(job.model, moves.live().values())
        job.model.train(False)
        job.model.progress = 0.0
        reseed(job.settings.seed, "prepare", number)
        try:
            adapted = self._adapt(number)
            method.prepare(moves.tasks[name], batches, batches.score)
            self._check(name, before, held)
        except BaseException:
            held.put_back()
            raise
        finally:
            job.model.progress = 1.0
            for tensor, *_ in held.tensors.values():
                tensor.grad = None
        send(job.accelerator, moves.live().values())
        found = {"task": name, "method": method.name, "batches": batches.drawn}
        return {**found, "adapted": adapted} if adapted else found

    def _adapt(self, number: int) -> int:
        """Estimates the statistics that the task keeps in training; returns the number of layers with new ones."""
        job = self.job
        batches = self.adapting.pop(number, None)
        if batches is None:
            return 0

        def forward(batch: Any) -> None:
            owners, inputs = batch
            with job.accelerator.autocast():
                job.objective.losses(job.model, inputs, owners, [number])

        return adapt(job.model, job.names[number], islice(batches, BATCHES), forward, job.settings.adapt_norm)

    def _check(self, name: str, before: dict[str, object], held: Kept) -> None:
        method, after = self.job.methods[name], _shapes(self.job.moves.live())
        if after != before:
            changed = min(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
            raise ValueError(
                f"prepare of method {method.name!r} must leave the task's tensors as many and as large as they are, "
                f"and has changed {changed!r}, {before.get(changed, 'none')} before and {after.get(changed, 'none')} "
                "now; make what it needs when the task is added"
            )
        if changed := held.changed():
            raise ValueError(
                f"prepare of method {method.name!r} {changed}, which the training of task {name!r} does not move and a "
                "checkpoint would not hold; write in place, to the task's parameters and buffers, and say by phases "
                "what trains when"
            )


def _shapes(tensors: dict[str, Tensor]) -> dict[str, object]:
    return {key: (*tensor.shape, str(tensor.dtype)) for key, tensor in tensors.items()}

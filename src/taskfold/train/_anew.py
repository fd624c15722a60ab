"""At the end of a training: running statistics estimated anew, and kept where validation agrees."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from accelerate.utils import send_to_device
from torch.utils.data import DataLoader

from ._data import Joined, Keyed
from ._job import Job
from ._log import Log
from ._processes import total
from ._sampler import Batches, Switch
from ._state import better
from ._statistics import reestimate, statistics
from ._validation import Found, Validation

STATISTICS_BATCHES = 200
"""Batches to re-estimate running statistics on, at the most: thousands of images have said what they will."""


class Anew:
    """The training inputs without augmentation, and what they are for.

    Args:
        job: the training.
        loader, switch: of the training inputs, used again if no others were given.
        validation: decides.
    """

    def __init__(self, job: Job, loader: DataLoader[Any], switch: Switch, validation: Validation) -> None:
        self.job, self.loader, self.switch, self.validation = job, loader, switch, validation
        owns = [job.settings.reestimate_norm and bool(statistics(job.model, name)) for name in job.names]
        self.batches = {number: self._batches(number) for number, has in enumerate(owns) if has}
        if self.batches and any(one.unaugmented is not one.train for one in job.sets.values()):
            self.switch = Switch([])
            joined = Joined([one.unaugmented for one in job.sets.values()])
            self.loader = job.loader(Keyed(joined, job.settings.seed), self.switch)

    def settle(self, number: int, before: Found, log: Log) -> dict[str, Any]:
        """What a task's validation finds, with statistics estimated anew if that is no worse."""
        if number not in self.batches:
            return {**before, "reestimated": False}
        job, name = self.job, self.job.names[number]
        running = [tensor for own in statistics(job.model, name).values() for tensor in own.values()]
        old = [tensor.clone() for tensor in running]
        with job.accelerator.autocast():
            reestimate(job.model, name, self._inputs(number), self._forward)
        for tensor in running:
            if tensor.is_floating_point():
                tensor.copy_(total(job.accelerator, tensor) / job.accelerator.num_processes)
        found = self.validation.of([number])[name]
        kept = not better(before, found, job.settings.select_by)
        log.write("statistics", task=name, running=before, reestimated=found, kept=kept)
        for tensor, value in zip(running, old, strict=True):
            tensor.copy_(tensor if kept else value)
        return {**(found if kept else before), "reestimated": kept}

    def _forward(self, owned: tuple[list[int], Any]) -> object:
        """One forward pass: the objective knows how."""
        owners, batch = owned
        names = [self.job.names[number] for number in owners]
        return self.job.seams.loss(self.job.model, send_to_device(batch, self.job.device, non_blocking=True), names)

    def _inputs(self, number: int) -> Iterator[tuple[list[int], Any]]:
        self.batches[number].go_to(0)
        self.switch.source = self.batches[number]
        yield from islice(self.loader, STATISTICS_BATCHES)

    def _batches(self, number: int) -> Batches:
        try:
            return self.job.batches(self.job.plain.only(number))
        except ValueError as error:
            raise ValueError(
                f"task {self.job.names[number]!r}: its BatchNorm statistics cannot be estimated anew, {error}; give it "
                "more samples, or set reestimate_norm=False"
            ) from None

"""Re-estimates running statistics at the end of a training, and keeps them where validation agrees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader

from ._data import Joined, Keyed
from ._job import Job
from ._log import Log
from ._processes import total
from ._sampler import Batches, Switch
from ._state import better
from ._statistics import BATCHES, reestimate, statistics
from ._validation import Found, Validation, means


class Anew:
    """Re-estimation of running statistics on the training inputs without augmentation.

    Args:
        job: the training.
        loader, switch: the loader of training inputs, used again if no others were given.
        validation: decides.
    """

    def __init__(self, job: Job, loader: DataLoader[Any], switch: Switch, validation: Validation) -> None:
        self.job, self.loader, self.switch, self.validation = job, loader, switch, validation
        running = [_running(job, number) if job.settings.reestimate_norm else {} for number in range(len(job.names))]
        self.groups = _grouped(running)
        self.running = {
            group: [*{k: t for n in group for k, t in running[n].items()}.values()] for group in self.groups
        }
        self.batches = {group: self._batches(group) for group in self.groups if self.running[group]}
        if self.batches and any(one.unaugmented is not one.train for one in job.sets.values()):
            self.switch = Switch([])
            joined = Joined([one.unaugmented for one in job.sets.values()])
            self.loader = job.loader(Keyed(joined, job.settings.seed), self.switch)

    def settle(self, before: Mapping[str, Found], log: Log) -> dict[str, dict[str, Any]]:
        """Re-estimates each task's statistics where validation is no worse with them; returns each task's validation.

        Tasks with common statistics are judged together, by their mean.
        """
        settled: dict[str, dict[str, Any]] = {}
        for group in self.groups:
            names = [self.job.names[number] for number in group]
            old = {name: before[name] for name in names}
            found = self._settle(group, old, log) if group in self.batches else old
            settled |= {name: {**found[name], "reestimated": found is not old} for name in names}
        return {name: settled[name] for name in before}

    def _settle(self, group: tuple[int, ...], before: dict[str, Found], log: Log) -> dict[str, Found]:
        """Returns the validation before, or the one with new statistics."""
        job, running = self.job, self.running[group]
        old = [tensor.clone() for tensor in running]
        with job.accelerator.autocast():
            reestimate(job.model, list(before), self._inputs(group), partial(self._forward, group))
        for tensor in running:
            if tensor.is_floating_point():
                tensor.copy_(total(job.accelerator, tensor) / job.accelerator.num_processes)
        found = self.validation.of(group)
        kept = not better(means(before), means(found), "loss" if self.validation.by == "last" else self.validation.by)
        for name, running_found in before.items():
            log.write("statistics", task=name, running=running_found, reestimated=found[name], kept=kept)
        if kept:
            return found
        for tensor, value in zip(running, old, strict=True):
            tensor.copy_(value)
        return before

    def _forward(self, group: Sequence[int], owned: tuple[list[int], Any]) -> object:
        """A forward pass of these tasks, by the objective."""
        owners, batch = owned
        batch = send_to_device(batch, self.job.device, non_blocking=True)
        return self.job.objective.losses(self.job.model, batch, owners, group)

    def _inputs(self, group: tuple[int, ...]) -> Iterator[tuple[list[int], Any]]:
        self.batches[group].go_to(0)
        self.switch.source = self.batches[group]
        yield from islice(self.loader, BATCHES)

    def _batches(self, group: Sequence[int]) -> Batches:
        places = [place for place, numbers in enumerate(self.job.members) if {*numbers} & {*group}]
        try:
            return self.job.batches(self.job.plain.only(*places))
        except ValueError as error:
            raise ValueError(
                f"task {self.job.names[group[0]]!r}: its BatchNorm statistics cannot be estimated anew, {error}; give "
                "it more samples, or set reestimate_norm=False"
            ) from None


def _running(job: Job, number: int) -> dict[int, Tensor]:
    """A task's running statistics, each tensor once."""
    return {id(tensor): tensor for own in statistics(job.model, job.names[number]).values() for tensor in own.values()}


def _grouped(running: Sequence[Mapping[int, Tensor]]) -> list[tuple[int, ...]]:
    """Numbers of tasks, grouped by common statistics."""
    groups: list[tuple[int, ...]] = []
    for number, own in enumerate(running):
        near = [group for group in groups if any(own.keys() & running[other].keys() for other in group)]
        groups = [group for group in groups if group not in near] + [(*(n for group in near for n in group), number)]
    return sorted(groups)

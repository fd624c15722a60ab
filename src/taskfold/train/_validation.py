"""Tasks on their validation data, shared out over the processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ..evaluate import evaluating
from ..model import Features, keeping
from ._data import Apart, Joined
from ._job import Job
from ._objective import Measured
from ._processes import total
from ._sampler import Switch

Found = dict[str, float]


class Validation:
    """The validation data of all tasks, and what is measured on them.

    Raises:
        ValueError: what is measured does not fit the settings, or a task has nothing to be measured on.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.joined = Joined([one.val for one in job.sets.values()])
        self.switch = Switch([])
        self.features: Features | None = None
        self.keys = self._probe()
        self.loader = job.loader(self.joined, self.switch)

    def every(self) -> dict[str, Found]:
        """`val_loss` and whatever else is measured, by task: means over every sample once, alike in all processes."""
        return self.of(range(len(self.job.names)))

    def of(self, numbers: Iterable[int]) -> dict[str, Found]:
        """The same for some tasks, by number; each over the samples that have a target for it."""
        job, chosen = self.job, list(numbers)
        wanted = [[number for number in numbers if number in chosen] for numbers in job.members]
        sums: dict[tuple[int, str], list[Tensor]] = {(n, key): [] for n in chosen for key in self.keys}
        counts = dict.fromkeys(chosen, 0)
        batches = [batch for place, asked in enumerate(wanted) if asked for batch in self._share(place)]
        self.switch.source = batches  # type: ignore[assignment]
        with evaluating(job.model), job.accelerator.autocast(), keeping(self.features):
            for owners, batch in self.loader:
                for number, measured in self._measured(owners, batch, wanted[owners[0]]).items():
                    for key in self.keys:
                        sums[number, key].append(measured[key].detach().float().sum())
                    counts[number] += len(measured["loss"])
        # Not every accelerator has float64, so the sums are added on the CPU.
        flat = torch.stack([_added(values) for values in sums.values()])
        flat = torch.cat([flat, torch.tensor(list(counts.values()), dtype=torch.float64)]).to(job.device)
        added = total(job.accelerator, flat).tolist()
        counted = dict(zip(chosen, added[len(sums) :], strict=True))
        found: dict[str, Found] = {job.names[n]: {} for n in chosen}
        for (n, key), value in zip(sums, added[: len(sums)], strict=True):
            found[job.names[n]][f"val_{key}"] = value / counted[n]
        return found

    def _measured(self, owners: Sequence[int], batch: Any, wanted: Sequence[int]) -> Measured:
        batch = send_to_device(batch, self.job.device, non_blocking=True)
        return self.job.objective.measured(self.job.model, batch, owners, wanted)

    def _share(self, place: int) -> list[list[int]]:
        """This process's batches of one data set."""
        first, last = self.joined.offsets[place : place + 2]
        mine = range(int(first) + self.job.accelerator.process_index, int(last), self.job.accelerator.num_processes)
        size = self.job.settings.batch_size
        return [list(mine[start : start + size]) for start in range(0, len(mine), size)]

    def _probe(self) -> list[str]:
        """What is measured, asked of single samples until each task of the first data set has been seen."""
        job, keys, unseen = self.job, list[str](), self.job.members[0]
        collated = Apart(job.objective.collate)
        for index in range(int(self.joined.offsets[1])):
            owners, batch = collated([self.joined[index]])
            with evaluating(job.model), job.accelerator.autocast():
                seen = self._measured(owners, batch, unseen)
            for number, measured in seen.items():
                keys = self._keys(job.names[number], measured, keys)
            unseen = [number for number in unseen if number not in seen]
            if not unseen:
                return keys
        raise ValueError(
            f"task {job.names[unseen[0]]!r}: no sample of val has a target, so that no epoch can be selected by it; "
            "add some, or leave the task out"
        )

    def _keys(self, name: str, measured: Mapping[str, Tensor], before: list[str]) -> list[str]:
        """What is measured of a task, which must be what is measured of the others."""
        by = self.job.settings.select_by
        if missing := {"loss", by} - measured.keys():
            raise ValueError(
                f"select_by={by!r} needs measure to return {sorted({'loss', by})}, it returned "
                f"{sorted(measured)}: give a measure that returns {min(missing)!r}, or choose another select_by"
            )
        if before and {*before} != measured.keys():
            raise ValueError(
                f"measure must return the same for every task, found {sorted(measured)} for {name!r} and "
                f"{sorted(before)} for another"
            )
        return list(measured)


def means(tasks: Mapping[str, Found]) -> Found:
    """What is measured, as the mean over tasks, each counted alike."""
    keys = next(iter(tasks.values())).keys()
    return {key: sum(found[key] for found in tasks.values()) / len(tasks) for key in keys if key.startswith("val_")}


def _added(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).cpu().double().sum() if values else torch.zeros((), dtype=torch.float64)

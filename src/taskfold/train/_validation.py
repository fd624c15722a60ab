"""Tasks on their validation data, shared out over the processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ..evaluate import evaluating
from ..model import Features, keeping
from ._collapse import Predicted
from ._data import Apart, Joined
from ._job import Job
from ._objective import Measured
from ._processes import total
from ._sampler import Switch
from ._seams import OUTPUTS

Found = dict[str, float]

BUCKETS = 64
"""Classes are counted by their number modulo this, so that processes add up as many numbers whatever they have seen."""


class Validation:
    """The validation data of all tasks, and what is measured on them.

    Attributes:
        predicted: which classes were said, by task, as far as tasks have classes.

    Raises:
        ValueError: what is measured does not fit the settings, or a task has nothing to be measured on.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.joined = Joined([one.val for one in job.sets.values()])
        self.switch = Switch([])
        self.features: Features | None = None
        self.keys = self._probe()
        self.predicted: dict[str, Predicted] = {}
        self.loader = job.loader(self.joined, self.switch)

    def every(self) -> dict[str, Found]:
        """`val_loss` and whatever else is measured, by task: means over every sample once, alike in all processes."""
        return self.of(range(len(self.job.names)))

    def of(self, numbers: Iterable[int]) -> dict[str, Found]:
        """The same for some tasks, by number; each over the samples that have a target for it."""
        job, chosen = self.job, list(numbers)
        wanted = [[number for number in numbers if number in chosen] for numbers in job.members]
        sums: dict[tuple[int, str], list[Tensor]] = {(n, key): [] for n in chosen for key in self.keys[n]}
        counts = dict.fromkeys(chosen, 0)
        said = torch.zeros(len(chosen), 3 + BUCKETS, dtype=torch.float64)
        batches = [batch for place, asked in enumerate(wanted) if asked for batch in self._share(place)]
        self.switch.source = batches  # type: ignore[assignment]
        with evaluating(job.model), job.accelerator.autocast(), keeping(self.features):
            for owners, batch in self.loader:
                for number, measured in self._measured(owners, batch, wanted[owners[0]]).items():
                    for key in self.keys[number]:
                        sums[number, key].append(measured[key].detach().float().sum())
                    counts[number] += len(measured["loss"])
                    if OUTPUTS in measured:
                        said[chosen.index(number)] += _said(measured[OUTPUTS])
        # Not every accelerator has float64, so the sums are added on the CPU.
        flat = torch.stack([_added(values) for values in sums.values()])
        flat = torch.cat([flat, torch.tensor(list(counts.values()), dtype=torch.float64), said.flatten()])
        added = total(job.accelerator, flat.to(job.device)).tolist()
        counted = dict(zip(chosen, added[len(sums) : len(sums) + len(chosen)], strict=True))
        sums_said = torch.tensor(added[-said.numel() :], dtype=torch.float64).view_as(said)
        for n, one in zip(chosen, sums_said, strict=True):
            chance, margin, square, *shares = (one / counted[n]).tolist()
            if chance:
                spread = math.sqrt(max(0.0, square - margin**2))
                self.predicted[job.names[n]] = Predicted(max(shares), chance, spread)
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

    def _probe(self) -> dict[int, list[str]]:
        """What is measured of each task, asked of single samples of its data until it has been seen."""
        job, keys = self.job, dict[int, list[str]]()
        collated = Apart(job.objective.collate)
        for place, members in enumerate(job.members):
            unseen = list(members)
            for index in range(*(int(edge) for edge in self.joined.offsets[place : place + 2])):
                owners, batch = collated([self.joined[index]])
                with evaluating(job.model), job.accelerator.autocast():
                    seen = self._measured(owners, batch, unseen)
                keys |= {number: self._keys(measured) for number, measured in seen.items()}
                unseen = [number for number in unseen if number not in seen]
                if not unseen:
                    break
            if unseen:
                raise ValueError(
                    f"task {job.names[unseen[0]]!r}: no sample of val has a target, so that no epoch can be selected by "
                    "it; add some, or leave the task out"
                )
        return keys

    def _keys(self, measured: Mapping[str, Tensor]) -> list[str]:
        """What is measured of a task."""
        by = self.job.settings.select_by
        if missing := {"loss", by} - measured.keys():
            raise ValueError(
                f"select_by={by!r} needs measure to return {sorted({'loss', by})}, it returned "
                f"{sorted(measured)}: give a measure that returns {min(missing)!r}, or choose another select_by"
            )
        return [key for key in measured if key != OUTPUTS]


def means(tasks: Mapping[str, Found]) -> Found:
    """What is measured of all tasks, as the mean over them, each counted alike."""
    keys = [key for key in next(iter(tasks.values())) if all(key in found for found in tasks.values())]
    return {key: sum(found[key] for found in tasks.values()) / len(tasks) for key in keys if key.startswith("val_")}


def _said(outputs: Tensor) -> Tensor:
    """What `Predicted` is made of, as sums over rows, from `[B, C]`: chance, margins, their squares, and each class."""
    outputs = outputs.detach().double().cpu()
    margins, classes = outputs.amax(1) - outputs.mean(1), outputs.argmax(1).remainder(BUCKETS)
    chance = outputs.new_tensor(len(outputs) * math.log(outputs.shape[1]))
    return torch.cat(
        [torch.stack([chance, margins.sum(), margins.square().sum()]), classes.bincount(minlength=BUCKETS)]
    )


def _added(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).cpu().double().sum() if values else torch.zeros((), dtype=torch.float64)

"""Tasks on their validation data, shared out over the processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ..evaluate._run import evaluating
from ._data import Apart, Joined
from ._job import Job
from ._processes import total
from ._sampler import Switch

Found = dict[str, float]


class Validation:
    """The validation data of all tasks, and what is measured on them.

    Raises:
        ValueError: what is measured does not fit the settings.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.joined = Joined([one.val for one in job.sets.values()])
        self.switch = Switch([])
        self.keys = self._probe()
        self.loader = job.loader(self.joined, self.switch)

    def every(self) -> dict[str, Found]:
        """`val_loss` and whatever else is measured, by task: means over every sample once, alike in all processes."""
        return self.of(range(len(self.job.names)))

    def of(self, numbers: Iterable[int]) -> dict[str, Found]:
        """The same for some tasks, by number."""
        job, chosen = self.job, list(numbers)
        sums: dict[tuple[int, str], list[Tensor]] = {(n, key): [] for n in chosen for key in self.keys}
        self.switch.source = [batch for number in chosen for batch in self._share(number)]  # type: ignore[assignment]
        with evaluating(job.model), job.accelerator.autocast():
            for owners, batch in self.loader:
                names = [job.names[number] for number in owners]
                measured = job.seams.measure(job.model, send_to_device(batch, job.device, non_blocking=True), names)
                for key in self.keys:
                    sums[owners[0], key].append(measured[key].detach().float().sum())
        # Not every accelerator has float64, so the sums are added on the CPU.
        flat = torch.stack([_added(values) for values in sums.values()])
        added = dict(zip(sums, total(job.accelerator, flat.to(job.device)).tolist(), strict=True))
        sizes = self.joined.offsets[1:] - self.joined.offsets[:-1]
        return {job.names[n]: {f"val_{key}": added[n, key] / int(sizes[n]) for key in self.keys} for n in chosen}

    def _share(self, number: int) -> list[list[int]]:
        """This process's batches of one task."""
        first, last = self.joined.offsets[number : number + 2]
        mine = range(int(first) + self.job.accelerator.process_index, int(last), self.job.accelerator.num_processes)
        size = self.job.settings.batch_size
        return [list(mine[start : start + size]) for start in range(0, len(mine), size)]

    def _probe(self) -> list[str]:
        """What is measured, asked of a single sample before anything is trained."""
        job = self.job
        owners, batch = Apart(job.seams.collate)([self.joined[0]])
        with evaluating(job.model), job.accelerator.autocast():
            found = job.seams.measure(job.model, send_to_device(batch, job.device), [job.names[n] for n in owners])
        wanted = {"loss", job.settings.select_by}
        if missing := wanted - found.keys():
            raise ValueError(
                f"select_by={job.settings.select_by!r} needs measure to return {sorted(wanted)}, it returned "
                f"{sorted(found)}: give a measure that returns {min(missing)!r}, or choose another select_by"
            )
        _check_rows(found, 1)
        return list(found)


def means(tasks: Mapping[str, Found]) -> Found:
    """What is measured, as the mean over tasks, each counted alike."""
    keys = next(iter(tasks.values())).keys()
    return {key: sum(found[key] for found in tasks.values()) / len(tasks) for key in keys if key.startswith("val_")}


def _added(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).cpu().double().sum() if values else torch.zeros((), dtype=torch.float64)


def _check_rows(measured: Mapping[str, Any], rows: int) -> None:
    for key, values in measured.items():
        if not isinstance(values, Tensor) or values.shape != (rows,):
            found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"measure must return one number per sample, [{rows}], found {found} for {key!r}")

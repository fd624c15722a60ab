"""Measures tasks on their validation data, shared out over the processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object, send_to_device
from torch import Tensor

from ..evaluate import class_scores, evaluating, uneven
from ..model import Features, keeping
from ._collapse import Predicted
from ._data import Apart, Joined
from ._job import Job
from ._objective import Measured, PerSample
from ._processes import total
from ._sampler import Switch
from ._seams import ALL, OUTPUTS, TARGETS

Found = dict[str, float]

CLASS_SCORES = ("balanced_accuracy", "macro_f1")
FEW = 20
"""With fewer validation samples of a task, `select_by="auto"` uses the loss."""
BUCKETS = 64
"""Predicted classes are counted modulo this, so that every process sums arrays of the same size."""


class Validation:
    """The validation data of all tasks, and their measures.

    Attributes:
        predicted: statistics of predicted classes, by task, for tasks with classes.
        confusion: `[true][predicted]` counts of samples, by task, likewise.

    Raises:
        ValueError: the measures lack the one in the settings, or a task has no sample with a target.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.joined = Joined([one.val for one in job.sets.values()])
        self.switch = Switch([])
        self.features: Features | None = None
        self.classes: dict[int, int] = {}
        self.pooled: set[int] = set()
        """The tasks whose `select_by` needs all outputs together."""
        self.keys = self._probe()
        self.predicted: dict[str, Predicted] = {}
        self.confusion: dict[str, list[list[int]]] = {}
        self.loader = job.loader(self.joined, self.switch)

    @property
    def by(self) -> str:
        """The measure that selects the best epoch, once tasks have been validated; see `Settings.select_by`."""
        said = self.job.settings.select_by
        if said != "auto":
            return said
        few = any(_few(cells) for cells in self.confusion.values())
        if few or not all("accuracy" in keys for keys in self.keys.values()):
            return "loss"
        return "balanced_accuracy" if any(map(uneven, self.confusion.values())) and self._classes_alone else "accuracy"

    @property
    def _classes_alone(self) -> bool:
        """Whether every task has classes, so that class scores have a mean."""
        return self.classes.keys() == self.keys.keys()

    def every(self) -> dict[str, Found]:
        """`val_loss` and the other measures, by task: means over all samples, equal in all processes."""
        return self.of(range(len(self.job.names)))

    def of(self, numbers: Iterable[int]) -> dict[str, Found]:
        """Like `every`, for some tasks by number; each over the samples with a target for it."""
        job, chosen = self.job, list(numbers)
        wanted = [[number for number in numbers if number in chosen] for numbers in job.members]
        sums: dict[tuple[int, str], list[Tensor]] = {(n, key): [] for n in chosen for key in self.keys[n]}
        counts = dict.fromkeys(chosen, 0)
        said = torch.zeros(len(chosen), 3 + BUCKETS, dtype=torch.float64)
        cells = {n: torch.zeros(size * size, dtype=torch.float64) for n in chosen if (size := self.classes.get(n, 0))}
        pools: dict[int, list[tuple[Tensor, Tensor]]] = {n: [] for n in chosen if n in self.pooled}
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
                    if number in cells:
                        cells[number] += _cells(measured[OUTPUTS], measured[TARGETS])
                    if number in pools:
                        outputs, targets = (measured[key].detach().cpu() for key in ALL)
                        pools[number].append((outputs.float(), targets))
        # The CPU sums, since not every accelerator has float64.
        flat = torch.stack([_added(values) for values in sums.values()])
        counted_here = torch.tensor(list(counts.values()), dtype=torch.float64)
        flat = torch.cat([flat, counted_here, said.flatten(), *cells.values()])
        added = total(job.accelerator, flat.to(job.device)).tolist()
        for n in reversed(cells):
            added, matrix = added[: -len(cells[n])], torch.tensor(added[-len(cells[n]) :])
            self.confusion[job.names[n]] = matrix.reshape(self.classes[n], -1).round().long().tolist()
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
        for n in cells:
            scores = class_scores(self.confusion[job.names[n]])
            found[job.names[n]] |= {f"val_{key}": value for key, value in scores.items()}
        for n, pool in pools.items():
            found[job.names[n]] |= self._together(n, pool)
        return found

    def _together(self, number: int, pool: list[tuple[Tensor, Tensor]]) -> Found:
        """The score that selects, of the outputs of all processes together.

        Raises:
            ValueError: it is undefined.
        """
        job, name, by = self.job, self.job.names[number], self.job.settings.select_by
        assert isinstance(job.objective, PerSample)
        scores = job.objective.seams.scores[name](gather_object(pool))
        if by not in scores:
            raise ValueError(f"task {name!r}: {by} of the validation data is undefined; choose another select_by")
        return {f"val_{by}": scores[by]}

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
        """The measures of each task, found by measuring single samples until each task had one."""
        job, keys = self.job, dict[int, list[str]]()
        collated = Apart(job.objective.collate)
        for place, members in enumerate(job.members):
            unseen = list(members)
            for index in range(*(int(edge) for edge in self.joined.offsets[place : place + 2])):
                owners, batch = collated([self.joined[index]])
                with evaluating(job.model), job.accelerator.autocast():
                    seen = self._measured(owners, batch, unseen)
                for number, measured in seen.items():
                    if {OUTPUTS, TARGETS} <= measured.keys():
                        self.classes[number] = measured[OUTPUTS].shape[1]
                    keys[number] = self._keys(number, measured)
                unseen = [number for number in unseen if number not in seen]
                if not unseen:
                    break
            if unseen:
                raise ValueError(
                    f"task {job.names[unseen[0]]!r}: no sample of val has a target, so that no epoch can be selected "
                    "by it; add some, or leave the task out"
                )
        return keys

    def _keys(self, number: int, measured: Mapping[str, Tensor]) -> list[str]:
        """The names of a task's measures."""
        by, found = self.job.settings.select_by, [key for key in measured if key not in (OUTPUTS, TARGETS, *ALL)]
        known = {*found, *(CLASS_SCORES if {OUTPUTS, TARGETS} <= measured.keys() else ())}
        wanted = {"loss", "loss" if by in ("auto", "last") else by}
        way = self.job.objective
        if isinstance(way, PerSample) and measured.keys() >= {*ALL} and wanted - known:
            known |= way.seams.names.get(self.job.names[number], frozenset()) - {"auto", "last"}
            self.pooled |= {number} if by in known else set()
        if missing := wanted - known:
            raise ValueError(
                f"select_by={by!r} needs measure to return {sorted(wanted)}, it returned {sorted(known)}: give a "
                f"measure that returns {min(missing)!r}, or choose another select_by"
            )
        return found


def means(tasks: Mapping[str, Found]) -> Found:
    """The means over tasks of the measures that all tasks have."""
    keys = [key for key in next(iter(tasks.values())) if all(key in found for found in tasks.values())]
    return {key: sum(found[key] for found in tasks.values()) / len(tasks) for key in keys if key.startswith("val_")}


def shown(found: Mapping[str, float], by: str) -> str:
    """The selecting measure, for a progress bar."""
    by = "loss" if by == "last" else by
    return f"val {by.replace('_', ' ')} {found[f'val_{by}']:.3f}"


def _few(confusion: Sequence[Sequence[int]]) -> bool:
    """Whether there are too few samples to select by shares of them."""
    return sum(map(sum, confusion)) < max(FEW, 2 * sum(any(row) for row in confusion))


def _cells(outputs: Tensor, targets: Tensor) -> Tensor:
    """`[C · C]` counts of samples by right and predicted class."""
    size = outputs.shape[1]
    return torch.bincount((targets * size + outputs.argmax(1)).cpu(), minlength=size * size).double()


def _said(outputs: Tensor) -> Tensor:
    """Sums over rows of `[B, C]` for `Predicted`: chance, margins, squared margins, and counts of classes."""
    outputs = outputs.detach().double().cpu()
    margins, classes = outputs.amax(1) - outputs.mean(1), outputs.argmax(1).remainder(BUCKETS)
    chance = outputs.new_tensor(len(outputs) * math.log(outputs.shape[1]))
    return torch.cat(
        [torch.stack([chance, margins.sum(), margins.square().sum()]), classes.bincount(minlength=BUCKETS)]
    )


def _added(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).cpu().double().sum() if values else torch.zeros((), dtype=torch.float64)

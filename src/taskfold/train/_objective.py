"""Objectives: losses and measures of a batch, each with the number of its task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..model import MultiTask
from ._seams import ALL, OUTPUTS, Collate, Seams, SeamsPerTask

Measured = Mapping[int, Mapping[str, Tensor]]
"""The task's number → the measure's name → `[n]`, a number for each of its samples."""


@dataclass(frozen=True)
class Rows:
    """The losses of a batch.

    Attributes:
        values: `[N]`, with gradients; float32 at least.
        index: `[N]`, the number of each loss's task.
        tasks: the numbers in `index`, known without waiting for a GPU.
    """

    values: Tensor
    index: Tensor
    tasks: frozenset[int]


class Objective(Protocol):
    """The losses of a batch, and its measures in validation."""

    @property
    def collate(self) -> Collate: ...

    def varied(self, batch: Any, owners: Sequence[int]) -> Any:
        """A batch as a training step uses it."""
        ...

    def losses(self, model: MultiTask, batch: Any, owners: Sequence[int], wanted: Sequence[int]) -> Rows:
        """The losses.

        Args:
            model, batch: on one device.
            owners: the number of each sample's data set.
            wanted: numbers of the tasks to compute losses for, among the data sets' tasks.
        """
        ...

    def measured(self, model: MultiTask, batch: Any, owners: Sequence[int], wanted: Sequence[int]) -> Measured:
        """The measures of samples of one data set; a task without a measured sample is left out."""
        ...


@dataclass(frozen=True)
class PerSample:
    """An objective for data sets of one task each, with the task's number.

    Attributes:
        seams: called with one task name per sample.
        names: the tasks' names.
    """

    seams: Seams
    names: Sequence[str]

    @property
    def collate(self) -> Collate:
        return self.seams.collate

    def varied(self, batch: Any, owners: Sequence[int]) -> Any:
        """The batch after `seams.vary`."""
        vary = self.seams.vary
        return batch if vary is None else vary(batch, [self.names[number] for number in owners])

    def losses(self, model: MultiTask, batch: Any, owners: Sequence[int], wanted: Sequence[int]) -> Rows:
        """One loss for each sample."""
        values = self.seams.loss(model, batch, [self.names[number] for number in owners])
        if not isinstance(values, Tensor) or values.shape != (len(owners),):
            raise ValueError(f"the objective must return one loss per sample, [{len(owners)}], found {_shape(values)}")
        return _rows(values, owners)

    def measured(self, model: MultiTask, batch: Any, owners: Sequence[int], wanted: Sequence[int]) -> Measured:
        """The measures of the samples' task."""
        found = self.seams.measure(model, batch, [self.names[number] for number in owners])
        for key, values in found.items():
            whole = key in ALL or (key == OUTPUTS and isinstance(values, Tensor) and values.dim() == 2)
            if whole and len(values) == len(owners):
                continue  # `targets` are one number for each sample
            if not isinstance(values, Tensor) or values.shape != (len(owners),):
                raise ValueError(
                    f"measure must return one number per sample, [{len(owners)}], found {_shape(values)} for {key!r}"
                )
        return {owners[0]: found}


@dataclass(frozen=True)
class PerTask:
    """An objective for one data set that serves all tasks.

    Attributes:
        seams: called with the names of the wanted tasks.
        names: the names of all tasks.
    """

    seams: SeamsPerTask
    names: Sequence[str]

    @property
    def collate(self) -> Collate:
        return self.seams.collate

    def varied(self, batch: Any, owners: Sequence[int]) -> Any:
        del owners
        return batch

    def losses(self, model: MultiTask, batch: Any, owners: Sequence[int], wanted: Sequence[int]) -> Rows:
        """A loss for each pair of a sample and a task that it has a target for."""
        found = self._losses(model, batch, len(owners), wanted)
        here = [number for number in wanted if len(found.get(self.names[number], ()))]
        if not here:
            nothing = torch.zeros(0, device=_device(model))
            return Rows(nothing, nothing.long(), frozenset())
        parts = [found[self.names[number]] for number in here]
        return _rows(torch.cat(parts), [n for n, part in zip(here, parts, strict=True) for _ in range(len(part))])

    def measured(self, model: MultiTask, batch: Any, owners: Sequence[int], wanted: Sequence[int]) -> Measured:
        """The measures of each task that a sample has a target for."""
        if self.seams.measure is None:
            losses = self._losses(model, batch, len(owners), wanted)
            found: Mapping[str, Mapping[str, Tensor]] = {name: {"loss": values} for name, values in losses.items()}
        else:
            found = self._by_task("measure", self.seams.measure, model, batch, wanted)
            for name, measures in found.items():
                self._check_measures(name, measures, len(owners))
        there = {name for name, measures in found.items() if any(len(values) for values in measures.values())}
        return {number: found[self.names[number]] for number in wanted if self.names[number] in there}

    def _losses(self, model: MultiTask, batch: Any, rows: int, wanted: Sequence[int]) -> Mapping[str, Tensor]:
        found = self._by_task("the objective", self.seams.loss, model, batch, wanted)
        for name, values in found.items():
            _check_numbers("the objective", name, values, rows)
        return found

    def _by_task(
        self, who: str, what: Callable[..., Any], model: MultiTask, batch: Any, wanted: Sequence[int]
    ) -> Mapping[str, Any]:
        names = [self.names[number] for number in wanted]
        found = what(model, batch, names)
        if not isinstance(found, Mapping) or not found.keys() <= {*names}:
            what_found = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise ValueError(f"{who} must return values by task, of {names}, found {what_found}")
        return found

    def _check_measures(self, name: str, measures: object, rows: int) -> None:
        if not isinstance(measures, Mapping):
            raise ValueError(f"measure must return {{'loss': …}} for {name!r}, found {type(measures).__name__}")
        for key, values in measures.items():
            _check_numbers("measure", f"{name}: {key}", values, rows)
        sizes = {key: len(values) for key, values in measures.items()}
        if len({*sizes.values()}) > 1:
            raise ValueError(f"measure must return as many numbers of each kind for {name!r}, found {sizes}")


def _check_numbers(who: str, what: str, values: object, rows: int) -> None:
    if not isinstance(values, Tensor) or values.dim() != 1 or len(values) > rows:
        raise ValueError(
            f"{who} must return one number for each sample that has a target, [n ≤ {rows}], found "
            f"{_shape(values)} for {what!r}"
        )


def _rows(values: Tensor, index: Iterable[int]) -> Rows:
    numbers = list(index)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return Rows(values, torch.tensor(numbers).to(values.device, non_blocking=True), frozenset(numbers))


def _shape(found: object) -> object:
    return list(found.shape) if isinstance(found, Tensor) else type(found).__name__


def _device(model: MultiTask) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))

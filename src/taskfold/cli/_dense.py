"""Dense tasks: tasks with an output for every pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel
from torch import nn

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import DenseSettings, Plan, TaskPart
from ..dense import DenseData, DenseObjective, DenseSet, DenseSource, DenseTogether, Protocol
from ..serve import Reading
from ..train import TaskSet
from ._asked import Asked, Predicted
from ._dense_checks import check_enough, heads_of, no_target, read_once, try_sizes
from ._dense_scenes import scenes_of
from ._dense_scores import scored, tested
from ._dense_seen import Seen
from ._dense_sets import Laid, for_tasks, listing
from ._output import UserError
from ._predict_dense import DenseReading, draw_images, map_table
from ._ready import Joint, PlacedError, Ready, Shelf, Shown, Tested

SHOWN = 4
"""Test images in the report."""


@dataclass(frozen=True)
class DenseTask(Ready):
    """One dense target of a source.

    Attributes:
        called: the task's name.
        data: images with all targets of the source, which other tasks may share.
        target: this task's target.
        seen: the preprocessing of images, and the kind of output.
        settings: the training's.
        source: the data's source.
        heads: makes a new head from a number of channels.
        chosen: indices of training images, after `few`; None: all.
    """

    kind = "dense"
    batch = 8

    called: str
    data: DenseData
    target: str
    seen: Seen
    settings: DenseSettings
    source: DenseSource
    heads: Callable[[int], nn.Module]
    chosen: tuple[int, ...] | None = None

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> tuple[DenseData, str]:
        """Reads all targets of the source once, for all of its tasks."""
        del plan
        assert isinstance(task.source, DenseSource)
        key = f"{type(task.source).__name__} {task.source.model_dump_json()}"
        data = read_once(task.source, key, shelf)
        target = task.target or task.name
        if target not in data.kinds:
            raise PlacedError("target", no_target(target, task, data))
        return data, target

    @classmethod
    def prepare(
        cls, task: TaskPart, data: tuple[DenseData, str], loaded: LoadedBackbone, known: Mapping[str, Any] | None
    ) -> Self:
        """Uses the preprocessing of the network's training unless the configuration has another."""
        assert isinstance(task.source, DenseSource)
        (everything, target), heads = data, heads_of(loaded)
        base = known or loaded.preprocessing or {}
        said = {"size": (known or {}).get("size"), "mean": base.get("mean"), "std": base.get("std")}
        said |= {key: value for key in said if (value := getattr(task.dense, key)) is not None}
        seen = Seen.checked(everything.kinds[target], **said)
        try_sizes(loaded, seen, task.dense, everything)
        check_enough(task.name, target, everything)
        return cls(task.name, everything, target, seen, task.dense, task.source, heads)

    @classmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Reads the target that the task's file names."""
        del plan
        assert isinstance(source, DenseSource)
        seen, data = Seen.of_task(task), source.load()
        target = seen.kind.name
        if target not in data.kinds:
            raise UserError(
                f"task {task.name!r} is for {target}, and {source.origin} has {', '.join(data.kinds)}; give other data"
            )
        if (theirs := data.kinds[target].channels) != seen.kind.channels:
            raise UserError(
                f"task {task.name!r} has {seen.kind.channels} classes, and {source.origin} has {theirs}; give "
                "other data, or say how many classes they have"
            )
        return cls(task.name, data, target, seen, DenseSettings(), source, heads_of(loaded))

    @classmethod
    def stored_head(cls, information: Mapping[str, Any], loaded: LoadedBackbone) -> nn.Module:
        return heads_of(loaded)(Seen.of(information, "").kind.channels)

    @classmethod
    def joint(cls, tasks: Sequence[Ready], seed: int) -> Joint:
        """Joins tasks that preprocess the same images alike into one data pass."""
        mine = [task for task in tasks if isinstance(task, DenseTask)]
        groups: list[list[DenseTask]] = []
        for task in mine:
            like = next((group for group in groups if group[0]._alike(task)), None)
            groups.append([task]) if like is None else like.append(task)
        sets = [group[0]._sets({task.called: task.target for task in group}, seed) for group in groups]
        protocol = Protocol(
            {task.called: task.seen.kind for task in mine}, {task.called: task._weight for task in mine}
        )
        together = DenseTogether(protocol)
        seams = {"objective": together, "measure": together.measure, "collate": protocol.collate}
        return {tuple(protocol.kinds): _laid(sets)}, seams

    @classmethod
    def predict(cls, asked: Asked) -> Predicted:
        asked.refuse(cls.kind, lines="texts", choices="texts", batch_size="images and texts")
        output = asked.output or Path("predictions")
        return *draw_images(asked.model, asked.names, asked.images(), output), map_table

    @classmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        return DenseReading.of(task, loaded)

    def few(self, shots: int, seed: int) -> Self:
        """Chooses training images that have the target."""
        count = len(for_tasks(self.data.train, self._own))
        if shots > count:
            raise ValueError(f"{self.source.origin} has {count} training images with {self.target}, not {shots}")
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
        return replace(self, chosen=tuple(sorted(order[:shots])))

    @property
    def name(self) -> str:
        return self.called

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of a segmentation, if known."""
        return self.seen.labels

    @property
    def head(self) -> nn.Module:
        return self.heads(self.seen.kind.channels)

    @property
    def information(self) -> dict[str, Any]:
        return self.seen.information

    def sets(self, seed: int) -> TaskSet:
        """The images that have the target."""
        return self._sets(self._own, seed)

    @property
    def seams(self) -> dict[str, Any]:
        """The protocol's loss, also in validation."""
        protocol = Protocol({self.called: self.seen.kind}, {self.called: self._weight})
        return {"objective": DenseObjective(protocol), "collate": protocol.collate}

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        split, samples = self._held_out
        found = scored(model, self.called, self.seen, for_tasks(samples, self._own), batch_size)
        return tested(self.seen.kind, found, len(for_tasks(samples, self._own)), split)

    def show(self, model: MultiTask) -> Shown:
        samples = for_tasks(self._held_out[1], self._own)
        return scenes_of(model, self.called, self.seen, samples, SHOWN)

    @property
    def identity(self) -> dict[str, Any]:
        """Images and targets by name and content; the preprocessing, and the kind of output."""
        train, val = (for_tasks(part, self._own) for part in (self._train, self.data.val))
        return {
            "dense": self.settings.model_dump(mode="json", exclude={"size", "mean", "std"}),
            "preprocessing": self.information,
            "train": listing(train),
            "val": listing(val),
        }

    @property
    def measured(self) -> dict[str, Any]:
        split, samples = self._held_out
        return {split: listing(for_tasks(samples, self._own))}

    @property
    def record(self) -> dict[str, Any]:
        sizes = {split: samples.counts[self.target] for split, samples in self.data.splits.items()}
        notes = list(self.data.notes)
        if self.data.test is None:
            notes.append("no test split: measured on val, by which the epoch was chosen")
        source = f"{self.source.origin}, {self.target}"
        return {"name": self.called, "source": source, "labels": list(self.labels), **sizes, "notes": notes}

    @property
    def _own(self) -> dict[str, str]:
        return {self.called: self.target}

    @property
    def _weight(self) -> float:
        return self.source.weights.get(self.target, 1.0)

    @property
    def _train(self) -> DenseSet:
        return self.data.train

    @property
    def _held_out(self) -> tuple[str, DenseSet]:
        return ("val", self.data.val) if self.data.test is None else ("test", self.data.test)

    def _alike(self, other: DenseTask) -> bool:
        mine, theirs = (replace(task.seen, kind=self.seen.kind) for task in (self, other))
        return self.data is other.data and self.settings == other.settings and mine == theirs

    def _sets(self, targets: Mapping[str, str], seed: int) -> TaskSet:
        train, val = for_tasks(self._train, targets), for_tasks(self.data.val, targets)
        if self.chosen is not None:
            train = train.subset(self.chosen)
        augment = self.settings.augment
        plain = self.seen.tensors(train, augment.still, seed) if augment else None
        return TaskSet(self.seen.tensors(train, augment, seed), self.seen.tensors(val), plain)


def _laid(sets: Sequence[TaskSet]) -> TaskSet:
    """The only data set, or one of several sources in which each image has some of the targets."""
    if len(sets) == 1:
        return sets[0]
    plain = Laid([one.unaugmented for one in sets]) if any(one.plain for one in sets) else None
    return TaskSet(Laid([one.train for one in sets]), Laid([one.val for one in sets]), plain)

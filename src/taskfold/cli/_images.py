"""Tasks on images: classification, regression, labels, ordinal levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import BaseModel
from torch import Tensor

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import LoadedNetwork, Plan, TaskPart
from ..data import ImageSet, ImageTensors, Preprocessing, Source, TaskData, sound, thin_out, unreadable
from ..evaluate import outputs_of, score
from ..problems import Classification, Problem, problem_of
from ..report import record
from ..serve import Reading
from ..train import TaskSet
from ._asked import ROWS, Asked, Predicted
from ._output import UserError, say
from ._predict_images import image_table, label_images
from ._preprocessed import preprocessing_of
from ._reading_images import ImageReading
from ._ready import KEY, Joint, PlacedError, Ready, Shelf, Shown, Tested
from ._scored import check_known, of_classes, scored

SHOWN = 12
"""Test images in the table of samples."""


@dataclass(frozen=True)
class ImageTask(Ready):
    """A task on images, with any problem.

    Attributes:
        data: its checked images.
        preprocessing: from images to tensors.
        origin: their source, in short.
    """

    kind = "images"
    data: TaskData
    preprocessing: Preprocessing
    origin: str

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> TaskData:
        """Reads and decodes every image once."""
        del shelf
        assert isinstance(task.source, Source)
        if task.problem.per_word:
            raise PlacedError("problem", f"{task.problem.kind!r} is for words of texts, and the source has images")
        return sound([task.source.load(task.name, plan.split_seed, task.problem)], plan.corrupt)[0]

    @classmethod
    def prepare(cls, task: TaskPart, data: TaskData, loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        """Combines the preprocessing of backbone, data and configuration."""
        assert isinstance(task.source, Source)
        if isinstance(loaded, LoadedNetwork):
            raise UserError(
                f"network {loaded.name} puts out maps, for dense targets; tasks of images need one vector for an "
                "image: timm:NAME, torchvision:NAME, packaged:efficientnet-lite0"
            )
        base = Preprocessing.model_validate(known) if known else None
        return cls(data, task.preprocess(loaded, base), task.source.origin)

    @classmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Targets get the task's order of classes."""
        assert isinstance(source, Source)
        if plan is not None:
            [problem] = [part.problem for part in plan.parts if part.name == task.name]
            data = sound([source.load(task.name, plan.split_seed, problem)], plan.corrupt)[0]
        else:
            parts = source.parts_for(problem_of(task.info.problem, task.name))
            images = parts.test or parts.train
            if parts.test is None:
                say(f"{source.origin} has no test split: all {len(images):,} images are for the test", "dim")
            if bad := unreadable(images):
                raise UserError(
                    f"task {task.name!r}: {len(bad)} test images cannot be read, the first: {bad[0].reason}"
                )
            none = images.subset(())
            data = TaskData(task.name, parts.labels, none, none, images, problem=parts.problem)
        test = _relabelled(data, task)
        labels = task.info.labels or data.labels
        return cls(
            replace(data, name=task.name, labels=labels, test=test), preprocessing_of(task, loaded), source.origin
        )

    @classmethod
    def predict(cls, asked: Asked) -> Predicted:
        asked.refuse(cls.kind, lines="texts", choices="texts", output="dense targets")
        readings = {name: cls.reading(asked.model[name], asked.loaded) for name in asked.names}
        return *label_images(asked.model, readings, asked.images(), asked.batch_size or ROWS), image_table

    @classmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        return ImageReading.of(task, loaded)

    @classmethod
    def example(cls, model: MultiTask, loaded: LoadedBackbone) -> dict[str, Tensor]:
        sizes = {name: preprocessing_of(model[name], loaded).size for name in model.tasks}
        if len(set(sizes.values())) > 1:
            raise UserError(f"tasks of one network must take images of one size, found {sizes}; export them apart")
        size = next(iter(sizes.values()))
        return {"image": torch.randn(2, 3, size, size)}

    def few(self, shots: int, seed: int) -> Self:
        """Chooses images with classes in proportion."""
        chosen = self.data.train.subset(thin_out(self.problem.strata(self.data.train.targets), shots, seed, "train"))
        return replace(self, data=replace(self.data, train=chosen))

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def problem(self) -> Problem:
        return self.data.problem

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of classes, labels or levels; for numbers, of columns."""
        return self.data.labels

    @property
    def belonging(self) -> dict[str, Any]:
        """The problem, unless it is plain classification."""
        return super().belonging | ({} if type(self.problem) is Classification else {"problem": self.problem.as_json()})

    @property
    def head(self) -> int:
        return len(self.data.labels)

    @property
    def information(self) -> dict[str, Any]:
        return self.preprocessing.model_dump(mode="json")

    def sets(self, seed: int) -> TaskSet:
        augmented = self.preprocessing.varies
        return TaskSet(
            ImageTensors(self.data.train, self.preprocessing, train=True, seed=seed),
            ImageTensors(self.data.val, self.preprocessing),
            ImageTensors(self.data.train, self.preprocessing) if augmented else None,
        )

    @property
    def seams(self) -> dict[str, Any]:
        """The problem, unless it is plain classification."""
        return {} if self.problem == Classification() else {"problem": self._training}

    @classmethod
    def joint(cls, tasks: Sequence[Ready], seed: int) -> Joint:
        problems = {task.name: task.seams["problem"] for task in tasks if task.seams}
        return {task.name: task.sets(seed) for task in tasks}, {"problems": problems} if problems else {}

    def settle(self, model: MultiTask) -> None:
        """After a regression, the head's outputs are in the labels' units."""
        if (head := model[self.name].head) is not None:
            self._training.settle(head)

    @property
    def _training(self) -> Problem:
        return self.problem.for_training(self.data.train.targets)

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        data = ImageTensors(self.data.test, self.preprocessing)
        if not self.problem.of_classes:
            return scored(self.problem, score(model, self.name, data, self.problem, batch_size=batch_size), len(data))
        made, wanted = outputs_of(model, self.name, data, self.problem, batch_size=batch_size)
        labels = model[self.name].info.labels or self.data.labels
        return of_classes(self.problem, made, wanted, labels, size=batch_size)

    def show(self, model: MultiTask) -> Shown:
        """Pictures, mistakes first; rows of a table for problems without classes."""
        if self.problem.of_classes:
            return Shown(record.sample_records(model, self.data, self.preprocessing))
        count = min(SHOWN, len(self.data.test))
        chosen = self.data.test.subset(n * len(self.data.test) // count for n in range(count))
        made, _ = outputs_of(model, self.name, ImageTensors(chosen, self.preprocessing), self.problem)
        said = [self.problem.answer(output, self.labels)["said"] for output in made]
        right = [self.problem.said(target, self.labels) for target in chosen.targets]
        rows = [(name, [one, other]) for name, one, other in zip(chosen.names, said, right, strict=True)]
        return Shown(rows=rows, titles=("says", "right"))

    @property
    def identity(self) -> dict[str, Any]:
        """Images by name, class and content, without the folder, which may move."""
        return {
            "labels": list(self.data.labels),
            "preprocessing": self.information,
            **({} if self.problem == Classification() else {"problem": self.problem.identity()}),
            "train": self.data.train.identity,
            "val": self.data.val.identity,
        }

    def keys(self, split: str) -> list[str]:
        return [one[:KEY] for one in getattr(self.data, split).contents()]

    def tested_on(self, chosen: Sequence[int]) -> Self:
        return replace(self, data=replace(self.data, test=self.data.test.subset(chosen)))

    @property
    def measured(self) -> dict[str, Any]:
        own = {"metrics": names} if (names := self.problem.metric_names) else {}
        return {**own, "test": self.data.test.identity}

    @property
    def record(self) -> dict[str, Any]:
        return record.task_record(self.data, self.origin)


def _relabelled(data: TaskData, task: Task) -> ImageSet:
    """The data with the targets in the task's order of classes."""
    images, labels, problem = data.test, data.labels, data.problem
    known = task.info.labels or labels
    used = {name for target in images.targets for name in problem.used(target, labels)}
    check_known(task.name, used, known)
    return replace(images, targets=[problem.renamed(target, labels, known) for target in images.targets])

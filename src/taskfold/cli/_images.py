"""Tasks that give images a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import LoadedNetwork, Plan, TaskPart
from ..data import ImageSet, ImageTensors, Preprocessing, Source, TaskData, sound, thin_out, unreadable
from ..evaluate import Metrics, evaluate
from ..report import record
from ..train import TaskSet
from ._output import UserError, say
from ._ready import Ready, Shelf, Shown, Tested


@dataclass(frozen=True)
class ImageTask(Ready):
    """A task on images.

    Attributes:
        data: its images, checked.
        preprocessing: how they become tensors.
        origin: where they come from, in short.
    """

    kind = "images"
    data: TaskData
    preprocessing: Preprocessing
    origin: str

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> TaskData:
        """Every image is decoded once."""
        del shelf
        assert isinstance(task.source, Source)
        return sound([task.source.load(task.name, plan.split_seed)], plan.corrupt)[0]

    @classmethod
    def prepare(cls, task: TaskPart, data: TaskData, loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        """With the preprocessing that backbone, data and configuration come to."""
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
        """Targets count as the task's labels do."""
        assert isinstance(source, Source)
        if plan is not None:
            data = sound([source.load(task.name, plan.split_seed)], plan.corrupt)[0]
        else:
            parts = source.parts()
            images = parts.test or parts.train
            if parts.test is None:  # then all of it was given to be measured
                say(f"{source.origin} has no test split: all {len(images):,} images count, trained on or not", "dim")
            if bad := unreadable(images):
                raise UserError(
                    f"task {task.name!r}: {len(bad)} test images cannot be read, the first: {bad[0].reason}"
                )
            data = TaskData(task.name, parts.labels, images, images, images)
        test = _relabelled(data.test, data.labels, task)
        return cls(replace(data, name=task.name, test=test), preprocessing_of(task, loaded), source.origin)

    def few(self, shots: int, seed: int) -> Self:
        """Classes in proportion."""
        chosen = self.data.train.subset(thin_out(self.data.train.targets, shots, seed, "train"))
        return replace(self, data=replace(self.data, train=chosen))

    @property
    def name(self) -> str:
        """Of the task."""
        return self.data.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names."""
        return self.data.labels

    @property
    def head(self) -> int:
        """One output for each class."""
        return len(self.data.labels)

    @property
    def information(self) -> dict[str, Any]:
        """The preprocessing."""
        return self.preprocessing.model_dump(mode="json")

    def sets(self, seed: int) -> TaskSet:
        """Tensors, augmented for training if the preprocessing says so."""
        augmented = self.preprocessing.varies
        return TaskSet(
            ImageTensors(self.data.train, self.preprocessing, train=True, seed=seed),
            ImageTensors(self.data.val, self.preprocessing),
            ImageTensors(self.data.train, self.preprocessing) if augmented else None,
        )

    @property
    def seams(self) -> dict[str, Any]:
        """The usual ones: cross-entropy and accuracy."""
        return {}

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        """Accuracy and loss."""
        test = ImageTensors(self.data.test, self.preprocessing)
        found = evaluate(model, self.name, test, batch_size=batch_size, confusion=True)
        labels = model[self.name].info.labels or self.data.labels  # what targets count as
        columns = {
            "accuracy": f"{found.accuracy:.2%}",
            "95 % interval": "{:.1%} to {:.1%}".format(*found.interval),
            "balanced": f"{found.balanced_accuracy:.2%}",
            "macro F1": f"{found.macro_f1:.2%}",
            "largest class": f"{found.majority:.2%}",
            "loss": f"{found.loss:.4f}",
            "images": f"{found.count:,}",
        }
        metrics = {"accuracy": found.accuracy, "loss": found.loss}
        scores = {"balanced_accuracy": found.balanced_accuracy, "macro_f1": found.macro_f1, "majority": found.majority}
        return Tested(
            found.accuracy,
            metrics | scores,
            {**found.as_json(), "labels": list(labels)},
            columns,
            found.count,
            "images",
            titles={"macro_f1": "macro F1", "majority": "largest class alone"},
            confusion=found.confusion or (),
            doubt=_doubt(found, labels),
        )

    def show(self, model: MultiTask) -> Shown:
        """Pictures, mistakes first."""
        return Shown(record.sample_records(model, self.data, self.preprocessing))

    @property
    def identity(self) -> dict[str, Any]:
        """Images by name, class and content: a folder may move."""
        return {
            "labels": list(self.data.labels),
            "preprocessing": self.information,
            "train": self.data.train.identity,
            "val": self.data.val.identity,
        }

    @property
    def measured(self) -> dict[str, Any]:
        """The test images likewise."""
        return {"test": self.data.test.identity}

    @property
    def record(self) -> dict[str, Any]:
        """Sizes, labels, notes."""
        return record.task_record(self.data, self.origin)


def _doubt(found: Metrics, labels: tuple[str, ...]) -> str:
    """Why a score says nothing for a task: the largest class alone has as much, or may have."""
    always = f"always answering {labels[found.largest]!r}, which has {found.majority:.1%}"
    if found.verdict == "no better":
        scores = f"accuracy {found.accuracy:.1%} and balanced accuracy {found.balanced_accuracy:.1%}"
        return f"{scores} are no better than {always}"
    if found.verdict == "undecided":
        low, high = found.interval
        return (
            f"{found.count:,} images are too few to tell accuracy {found.accuracy:.1%} (95 % interval {low:.1%} to "
            f"{high:.1%}) from {always}"
        )
    return ""


def preprocessing_of(task: Task, loaded: LoadedBackbone) -> Preprocessing:
    """What a task was trained with; if its file does not say, what the backbone expects.

    Raises:
        UserError: neither says, or the file says something that does not exist.
    """
    if task.info.preprocessing:
        try:
            return Preprocessing.model_validate(task.info.preprocessing)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"task {task.name!r}: its preprocessing cannot be used here: {'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}; it was saved by another version of taskfold, or by hand"
            ) from None
    if loaded.preprocessing is None:
        raise UserError(f"task {task.name!r} does not say how its images are made ready, nor does {loaded.name}")
    return Preprocessing.from_config(loaded.preprocessing)


def _relabelled(images: ImageSet, labels: tuple[str, ...], task: Task) -> ImageSet:
    """Targets that count as the task's labels do, not as the data's."""
    known = {label: index for index, label in enumerate(task.info.labels)} or {x: i for i, x in enumerate(labels)}
    used = {labels[target] for target in images.targets}
    if odd := sorted(used - known.keys()):
        raise UserError(
            f"task {task.name!r} does not know {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''}; "
            f"its labels: {', '.join(list(known)[:20])}{' …' if len(known) > 20 else ''}"
        )
    return replace(images, targets=[known[labels[target]] for target in images.targets])

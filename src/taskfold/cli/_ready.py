"""The interface of tasks for training, measuring and reporting, one subclass for each kind of data."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import BaseModel
from torch import Tensor, nn

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import Plan, TaskPart, words_of
from ..serve import Reading
from ..train import TaskSet
from ._asked import Asked, Predicted
from ._output import UserError, say

KEY = 12  # digits


def keyed(inputs: Iterable[Any]) -> list[str]:
    """The keys of texts, or lists of words."""
    return [hashlib.sha256(json.dumps(one).encode()).hexdigest()[:KEY] for one in inputs]


def listed(held: Sequence[Any], unit: str) -> str:
    """The number of items, and a digest over them."""
    text = json.dumps(held, ensure_ascii=False)
    return f"{len(held)} {unit} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Tested:
    """The test results of a task.

    Attributes:
        accuracy: the share of right answers, 0 to 1; None: the task has no such score.
        metrics: numbers by name, such as `exact_match`; a task file keeps them with the prefix `test_`.
        details: all results as JSON.
        columns: title → text, for a table.
        count: the number of samples, in `unit`s.
        others: the metrics that are not shares from 0 to 1.
        table: the title of its table; tasks measured alike have the same.
        split: the name of the data.
        titles: titles of metrics that differ from their names.
        better: whether more is better, for metrics where that is known.
        confusion: `[true][predicted]` counts of samples, in the order of the labels; empty: no classes.
        doubt: why the results may prove nothing, for a note; empty: there is no doubt.
    """

    accuracy: float | None
    metrics: Mapping[str, float]
    details: Mapping[str, Any]
    columns: Mapping[str, str]
    count: int
    unit: str
    others: frozenset[str] = frozenset({"loss"})
    table: str = "Each task"
    split: str = "test"
    titles: Mapping[str, str] = field(default_factory=dict)
    better: Mapping[str, bool] = field(default_factory=dict)
    confusion: Sequence[Sequence[int]] = ()
    doubt: str = ""

    def title(self, metric: str) -> str:
        """A metric's title for people."""
        return self.titles.get(metric, title_of(metric))

    def __str__(self) -> str:
        said = (f"{self.title(name)} {self.written(name)}" for name in self.metrics if name != "loss")
        return f"{self.split} {', '.join(said)} on {self.count:,} {self.unit}"

    def written(self, name: str, digits: int = 1) -> str:
        """A metric's value for people."""
        value = self.metrics[name]
        return f"{value:.4g}" if name in self.others else f"{value:.{digits}%}"


def named(tested: Tested) -> dict[str, float]:
    """The results under the names that task files and results documents use."""
    main = {} if tested.accuracy is None else {"test_accuracy": tested.accuracy}
    return main | {f"{tested.split}_{name}": value for name, value in tested.metrics.items()}


def say_doubts(tests: Mapping[str, Tested]) -> None:
    """Print why scores may prove nothing, task by task."""
    for name, tested in tests.items():
        if tested.doubt:
            say(f"Note: {name}: {tested.doubt}", "yellow")


def title_of(metric: str) -> str:
    """A metric's default title."""
    return metric.replace("_", " ")


@dataclass(frozen=True)
class Shown:
    """Some samples of a task with its predictions, for the report: pictures, or rows of a table.

    Attributes:
        predictions: images with a class.
        rows, titles: of a table.
        scenes: images with maps, as the report's `images`, each with one view.
        legend: the legend of the maps.
    """

    predictions: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, list[str]]] = field(default_factory=list)
    titles: tuple[str, ...] = ()
    scenes: list[dict[str, Any]] = field(default_factory=list)
    legend: dict[str, Any] = field(default_factory=dict)


Shelf = dict[str, Any]
"""Data that several tasks of a configuration share, once read."""
Joint = tuple[Mapping[str, TaskSet] | Mapping[tuple[str, ...], TaskSet], Mapping[str, Any]]
"""The data of a joint training, and its seams."""


class PlacedError(ValueError):
    """An error, with the configuration's key that it concerns."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(text)
        self.place = place


class Ready(ABC):
    """A task that can be trained, measured and used. One subclass for each kind of data.

    Attributes:
        kind: name of the `config._kinds.Kind`.
        batch: the default number of samples of a forward pass.
    """

    kind: ClassVar[str]
    batch: ClassVar[int] = 64

    @classmethod
    @abstractmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> Any:
        """Read and check the data of a task that is to be trained.

        Raises:
            PlacedError: another key of the task than `source` is wrong.
            ValueError, OSError, ImportError: the data are wrong or missing.
        """

    @classmethod
    @abstractmethod
    def prepare(cls, task: TaskPart, data: Any, loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        """Combine data and backbone; `known` is the `information` of a task that this one follows.

        Raises:
            PlacedError: a key of the task is wrong.
            ValueError: data and backbone do not fit.
        """

    @classmethod
    @abstractmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Read the data to measure a saved task on; without a plan all samples of data without parts.

        Raises:
            ValueError, OSError, ImportError: the data are wrong or missing.
        """

    @classmethod
    def ground(cls, loaded: LoadedBackbone) -> LoadedBackbone:
        """The backbone in the form that tasks of this kind need, the same for all tasks of a model.

        Raises:
            ValueError: the backbone does not fit such tasks.
        """
        return loaded

    @classmethod
    @abstractmethod
    def predict(cls, asked: Asked) -> Predicted:
        """Run tasks of this kind: the predictions, the unreadable inputs, and a table of the predictions.

        Raises:
            UserError: an option is for other kinds of data, or there is no input.
        """

    @classmethod
    @abstractmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        """The reading of a server's requests for a saved task, and of its answers, as in `predict`.

        Raises:
            UserError: the task's file has settings that cannot be used here.
        """

    @classmethod
    def example(cls, model: MultiTask, loaded: LoadedBackbone) -> dict[str, Tensor]:
        """Inputs of two rows by name, for an exporter.

        Raises:
            UserError: tasks of this kind cannot be exported, or these not together.
        """
        del loaded
        raise UserError(
            f"task {next(iter(model.tasks))!r} is for {words_of(cls.kind)}, and this exports tasks of images and of "
            "words; in Python, taskfold.export.export takes any module of tensors"
        )

    @classmethod
    def stored_head(cls, information: Mapping[str, Any], loaded: LoadedBackbone) -> nn.Module | None:
        """A module to load a task's head into; None: the task file describes it.

        Raises:
            ValueError: this backbone has no such head.
        """
        del information, loaded
        return None

    @classmethod
    def joint(cls, tasks: Sequence[Ready], seed: int) -> Joint:
        """The arguments of joint training, for all tasks at once; `seed` is the augmentation's."""
        return {task.name: task.sets(seed) for task in tasks}, tasks[0].seams

    @abstractmethod
    def few(self, shots: int, seed: int) -> Self:
        """The task with `shots` training samples, drawn by seed.

        Raises:
            ValueError: there are fewer.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The task's name."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """The names of classes or choices, if there are any."""

    @property
    @abstractmethod
    def head(self) -> int | nn.Module | None:
        """The number of a head's outputs, or a new module; None: the backbone's own output."""

    @property
    @abstractmethod
    def information(self) -> dict[str, Any]:
        """The preprocessing of samples, as the task file keeps it."""

    @abstractmethod
    def sets(self, seed: int) -> TaskSet:
        """The data sets for training; `seed` is the augmentation's."""

    @property
    @abstractmethod
    def seams(self) -> Mapping[str, Any]:
        """Arguments `problem`, or `objective`, `measure` and `collate`, of the training, if not the defaults."""

    def settle(self, model: MultiTask) -> None:
        """Convert a trained task from its training form to the form in use."""
        del model

    @abstractmethod
    def test(self, model: MultiTask, batch_size: int) -> Tested:
        """Measure the task of this name on test data."""

    @abstractmethod
    def show(self, model: MultiTask) -> Shown:
        """Samples for the report."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """The data's identity, which a resumed training must match."""

    def keys(self, split: str) -> list[str]:
        """A key for each sample in `train`, `val` or `test`, equal for equal inputs; none: data without keys."""
        del split
        return []

    def tested_on(self, chosen: Sequence[int]) -> Self:
        """The task with these of its test samples."""
        raise NotImplementedError

    @property
    @abstractmethod
    def measured(self) -> dict[str, Any]:
        """The test's identity, on which scores depend."""

    @property
    @abstractmethod
    def record(self) -> dict[str, Any]:
        """The task's entry in a results document."""

    @property
    def belonging(self) -> dict[str, Any]:
        """The data that `save_task` stores with the task."""
        return {"labels": self.labels, "preprocessing": self.information}

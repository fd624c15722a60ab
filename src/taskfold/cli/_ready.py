"""What training, measuring and reporting ask of a task, whatever its data are."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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


def listed(held: Sequence[Any], unit: str) -> str:
    """How many there are, and a digest over them."""
    text = json.dumps(held, ensure_ascii=False)
    return f"{len(held)} {unit} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Tested:
    """What a task does on its test data.

    Attributes:
        accuracy: the share of right answers that stands for it, 0 to 1; None: there is none such.
        metrics: numbers by name: `exact_match`; what a task file keeps, with `test_` before.
        details: all of it as JSON.
        columns: title → text, for a table.
        count: samples; `unit` says of what.
        others: those of the metrics that are no shares from 0 to 1.
        table: title of the table that it belongs in, with all that is measured alike.
        split: what was measured.
        titles: what metrics are called, where that is not their name.
        better: whether more is better, of metrics where that is known.
        confusion: `[true][predicted]` samples, in the order of the labels; empty: there are no classes.
        doubt: why the numbers may mean nothing, for a note; empty: they do mean something.
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
        """A metric's name for people."""
        return self.titles.get(metric, title_of(metric))

    def __str__(self) -> str:
        said = (f"{self.title(name)} {self.written(name)}" for name in self.metrics if name != "loss")
        return f"{self.split} {', '.join(said)} on {self.count:,} {self.unit}"

    def written(self, name: str, digits: int = 1) -> str:
        """One of the metrics, for people."""
        value = self.metrics[name]
        return f"{value:.4g}" if name in self.others else f"{value:.{digits}%}"


def named(tested: Tested) -> dict[str, float]:
    """What a task file and a results document say of a test."""
    main = {} if tested.accuracy is None else {"test_accuracy": tested.accuracy}
    return main | {f"{tested.split}_{name}": value for name, value in tested.metrics.items()}


def say_doubts(tests: Mapping[str, Tested]) -> None:
    """Why scores may mean nothing, task by task."""
    for name, tested in tests.items():
        if tested.doubt:
            say(f"Note: {name}: {tested.doubt}", "yellow")


def title_of(metric: str) -> str:
    """A metric's name for people."""
    return metric.replace("_", " ")


@dataclass(frozen=True)
class Shown:
    """A few samples of a task and what it says to them, for the report: pictures, or rows of a table.

    Attributes:
        predictions: images with a class.
        rows, titles: of a table.
        scenes: images with maps, as the report's `images`, each with one view.
        legend: of the maps.
    """

    predictions: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, list[str]]] = field(default_factory=list)
    titles: tuple[str, ...] = ()
    scenes: list[dict[str, Any]] = field(default_factory=list)
    legend: dict[str, Any] = field(default_factory=dict)


Shelf = dict[str, Any]
"""Data that several tasks of a configuration have in common, once they are read."""
Joint = tuple[Mapping[str, TaskSet] | Mapping[tuple[str, ...], TaskSet], Mapping[str, Any]]
"""The data of tasks that are trained together, and the seams of that."""


class PlacedError(ValueError):
    """What is wrong, and the key of the configuration that it is wrong with."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(text)
        self.place = place


class Ready(ABC):
    """A task that can be trained, measured and asked. One subclass for each kind of data.

    Attributes:
        kind: name of the `config._kinds.Kind`.
        batch: samples of one forward pass where nothing is said.
    """

    kind: ClassVar[str]
    batch: ClassVar[int] = 64

    @classmethod
    @abstractmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> Any:
        """Read and check the data of a task that is to be trained.

        Raises:
            PlacedError: what is wrong with another key of the task than `source`.
            ValueError, OSError, ImportError: what is wrong with them.
        """

    @classmethod
    @abstractmethod
    def prepare(cls, task: TaskPart, data: Any, loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        """Data and backbone as one; `known` is the `information` of a task that this one follows.

        Raises:
            PlacedError: what is wrong with a key of the task.
            ValueError: they do not go together.
        """

    @classmethod
    @abstractmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Read the data that a task from a file is to be measured on: whole without a plan, where they have no parts.

        Raises:
            ValueError, OSError, ImportError: what is wrong with them.
        """

    @classmethod
    def ground(cls, loaded: LoadedBackbone) -> LoadedBackbone:
        """The backbone as tasks of this kind stand on it, all tasks of a model alike.

        Raises:
            ValueError: it can't be for such tasks.
        """
        return loaded

    @classmethod
    @abstractmethod
    def predict(cls, asked: Asked) -> Predicted:
        """Ask tasks of this kind: what each says to each input, what could not be read, and how a table has it.

        Raises:
            UserError: an option is for other kinds of data, or there is no input.
        """

    @classmethod
    @abstractmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        """How a saved task reads what a server is sent, and words answers: as `predict` does.

        Raises:
            UserError: what its file says cannot be used here.
        """

    @classmethod
    def example(cls, model: MultiTask, loaded: LoadedBackbone) -> dict[str, Tensor]:
        """Inputs of two rows by name, for an exporter.

        Raises:
            UserError: tasks of this kind are not exported, or these not together.
        """
        del loaded
        raise UserError(
            f"task {next(iter(model.tasks))!r} is for {words_of(cls.kind)}, and this exports tasks of images and of "
            "words; in Python, taskfold.export.export takes any module of tensors"
        )

    @classmethod
    def stored_head(cls, information: Mapping[str, Any], loaded: LoadedBackbone) -> nn.Module | None:
        """A module to load a task's head into; None: the task file says all of it.

        Raises:
            ValueError: there is none for this backbone.
        """
        del information, loaded
        return None

    @classmethod
    def joint(cls, tasks: Sequence[Ready], seed: int) -> Joint:
        """What joint training asks for, of all tasks at once; `seed` is that of augmentation."""
        return {task.name: task.sets(seed) for task in tasks}, tasks[0].seams

    @abstractmethod
    def few(self, shots: int, seed: int) -> Self:
        """The same task with few training samples, by seed.

        Raises:
            ValueError: there are not as many.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the task."""

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Names of classes or choices, if there are any."""

    @property
    @abstractmethod
    def head(self) -> int | nn.Module | None:
        """Outputs of a head, or a new module; None: the backbone's own output."""

    @property
    @abstractmethod
    def information(self) -> dict[str, Any]:
        """How a sample is made ready: what a task file keeps as its preprocessing."""

    @abstractmethod
    def sets(self, seed: int) -> TaskSet:
        """What training asks for; `seed` is that of augmentation."""

    @property
    @abstractmethod
    def seams(self) -> Mapping[str, Any]:
        """`problem`, or `objective`, `measure` and `collate`, for training, where they are not the usual ones."""

    def settle(self, model: MultiTask) -> None:
        """Bring a trained task from the form that it trains in to the one that it is used in."""
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
        """What must be the same for a training to go on."""

    @property
    @abstractmethod
    def measured(self) -> dict[str, Any]:
        """What must be the same for scores to hold."""

    @property
    @abstractmethod
    def record(self) -> dict[str, Any]:
        """The task in a results document."""

    @property
    def belonging(self) -> dict[str, Any]:
        """What goes with the task into its file."""
        return {"labels": self.labels, "preprocessing": self.information}

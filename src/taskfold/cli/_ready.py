"""What training, measuring and reporting ask of a task, whatever its data are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import BaseModel

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config._parts import Plan, TaskPart
from ..train import TaskSet


@dataclass(frozen=True)
class Tested:
    """What a task does on its test data.

    Attributes:
        accuracy: the one number that stands for it, 0 to 1.
        metrics: shares of right answers, 0 to 1, by name: `exact_match`; what a task file keeps, with `test_` before.
        details: all of it as JSON.
        columns: title → text, for a table.
        count: samples; `unit` says of what.
    """

    accuracy: float
    metrics: Mapping[str, float]
    details: Mapping[str, Any]
    columns: Mapping[str, str]
    count: int
    unit: str

    def __str__(self) -> str:
        shares = (f"{name.replace('_', ' ')} {value:.1%}" for name, value in self.metrics.items() if name != "loss")
        return f"test {', '.join(shares)} on {self.count:,} {self.unit}"


@dataclass(frozen=True)
class Shown:
    """A few samples of a task and what it says to them, for the report: pictures, or rows of a table."""

    predictions: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, list[str]]] = field(default_factory=list)
    titles: tuple[str, ...] = ()


class Ready(ABC):
    """A task that can be trained and measured. One subclass for each kind of data.

    Attributes:
        kind: name of the `config._kinds.Kind`.
    """

    kind: ClassVar[str]

    @classmethod
    @abstractmethod
    def read(cls, plan: Plan, task: TaskPart) -> Any:
        """Read and check the data of a task that is to be trained.

        Raises:
            ValueError, OSError, ImportError: what is wrong with them.
        """

    @classmethod
    @abstractmethod
    def prepare(cls, task: TaskPart, data: Any, loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        """Data and backbone as one.

        Args:
            task: what the configuration says of it.
            data: what `read` found.
            loaded: the backbone.
            known: what `information` was of a task that this one follows.

        Raises:
            ValueError: they do not go together.
        """

    @classmethod
    @abstractmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Read the data that a task from a file is to be measured on.

        Args:
            source: where they are.
            task: the task, in a model.
            loaded: the backbone.
            plan: the configuration that it comes from; None: the data are measured whole, where they have no parts.

        Raises:
            ValueError, OSError, ImportError: what is wrong with them.
        """

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
    def head(self) -> int | None:
        """Outputs of a head; None: the backbone's own output."""

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
        """`objective`, `measure` and `collate` for training, where they are not the usual ones."""

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
    def record(self) -> dict[str, Any]:
        """The task in a results document."""

    @property
    def belonging(self) -> dict[str, Any]:
        """What goes with the task into its file."""
        return {"labels": self.labels, "preprocessing": self.information}

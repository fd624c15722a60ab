"""What configurations have in common: a backbone, tasks with their data, an output folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, PrivateAttr

from ..backbones import LoadedBackbone
from ..data import Preprocessing, Source
from ..tasks import check_name
from ..text.configured import TextSettings
from ..train import Settings
from ._dense import DenseSettings
from ._kinds import Kind, kind_of
from ._problem import AnyProblem
from ._sources import AnySource


class Part(BaseModel):
    """Frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskPart(Part):
    """One task: its data, and how it is trained and made ready.

    Attributes:
        name: of the task.
        source: where its data come from.
        train: how it is trained.
        problem: what its outputs mean: classes, numbers, labels, levels.
        preprocessing: of images.
        text: of texts.
        dense: of images with dense targets.
        target: which of the dense targets; None: that of the task's name.
    """

    name: Annotated[str, AfterValidator(check_name)]
    source: AnySource
    train: Settings
    problem: AnyProblem
    preprocessing: Preprocessing
    text: TextSettings
    dense: DenseSettings
    target: str | None = None

    @property
    def kind(self) -> Kind:
        """The kind of data."""
        return kind_of(self.source)

    def preprocess(self, backbone: LoadedBackbone, known: Preprocessing | None = None) -> Preprocessing:
        """What the backbone expects, then what is usual for the images, then what the configuration says.

        Args:
            backbone: the network.
            known: instead of what the backbone expects.
        """
        assert isinstance(self.source, Source)
        base = known or Preprocessing.from_config(backbone.preprocessing or {})
        return self.source.preprocessing(base).changed(**self.preprocessing.model_dump(exclude_unset=True))


class Plan(Part):
    """A file that says what to train. What holds for all tasks is written out in every one of them.

    Attributes:
        output: folder for all that is written.
        corrupt: unreadable images: `error`; `skip` leaves them out; `trust` does not look.
        split_seed: of the splits that are made where a source has none; training has its own seed.
    """

    output: Path
    corrupt: Literal["error", "skip", "trust"] = "error"
    split_seed: int = Field(0, ge=0)
    _path: Path = PrivateAttr(Path())
    _document: Mapping[str, Any] = PrivateAttr({})
    _places: tuple[int, ...] = PrivateAttr(())

    train: Any = Field(None, exclude=True)
    problem: Any = Field(None, exclude=True)
    preprocessing: Any = Field(None, exclude=True)
    text: Any = Field(None, exclude=True)
    dense: Any = Field(None, exclude=True)
    source: Any = Field(None, exclude=True)
    image_size: PositiveInt | None = Field(None, exclude=True)

    @property
    def path(self) -> Path:
        """The file that it came from."""
        return self._path

    @property
    def parts(self) -> Sequence[TaskPart]:
        """The tasks, in the order of training."""
        raise NotImplementedError

    def only(self, names: Collection[str]) -> Self:
        """The same with these tasks alone; messages go on counting all of them.

        Raises:
            ValueError: there is no task of a name.
        """
        known = [task.name for task in self.parts]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{self.path}: tasks: there is no task {unknown[0]!r}; there are {', '.join(known)}")
        places = [index for index, name in enumerate(known) if name in names]
        found = self.model_copy(update={"tasks": tuple(self.parts[index] for index in places)})
        found._places = tuple(self.place(index) for index in places)
        return found

    def place(self, index: int) -> int:
        """Where a task stands in the file."""
        return self._places[index] if self._places else index

    def method_key(self, index: int) -> str:
        """Where the method of a task stands."""
        return f"tasks[{self.place(index)}].method"

    def key(self, index: int, section: str) -> str:
        """Where a section of a task stands: in the task, or for all of them."""
        place = self.place(index)
        shared = section in self._document and section not in self._document["tasks"][place]
        return section if shared else f"tasks[{place}].{section}"

    def task_file(self, task: TaskPart) -> Path:
        """Where a trained task is saved."""
        return self.output / "tasks" / f"{task.name}.safetensors"

    def run_folder(self, task: TaskPart) -> Path:
        """Where a task's training keeps its checkpoint and log."""
        return self.output / "train" / task.name

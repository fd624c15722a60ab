"""The common parts of configurations: a backbone, tasks with their data, an output folder."""

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
    """A part of a configuration: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskPart(Part):
    """One task: its data, training and preprocessing.

    Attributes:
        name: the task's name.
        source: the source of its data.
        train: the settings of its training.
        problem: the meaning of its outputs: classes, numbers, labels, levels.
        preprocessing: the preprocessing of images.
        text: the settings for texts.
        dense: the settings for images with dense targets.
        target: the name of its dense target; None: the task's name.
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
        return kind_of(self.source)

    def preprocess(self, backbone: LoadedBackbone, known: Preprocessing | None = None) -> Preprocessing:
        """The backbone's preprocessing, changed by what is usual for the images, then by the configuration.

        Args:
            backbone: the network.
            known: the preprocessing to use in place of the backbone's.
        """
        assert isinstance(self.source, Source)
        base = known or Preprocessing.from_config(backbone.preprocessing or {})
        return self.source.preprocessing(base).changed(**self.preprocessing.model_dump(exclude_unset=True))


class Plan(Part):
    """A configuration of a run. Common sections are written out in every task.

    Attributes:
        output: the folder for all files of the run.
        corrupt: the treatment of unreadable images: `error`; `skip` leaves them out; `trust` does not check.
        split_seed: the seed of splits, for sources without their own; training has another seed.
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
        """The path of the configuration's file."""
        return self._path

    @property
    def parts(self) -> Sequence[TaskPart]:
        """The tasks, in the order of training."""
        raise NotImplementedError

    def only(self, names: Collection[str]) -> Self:
        """The plan with these tasks only; messages still number all tasks.

        Raises:
            ValueError: there is no task of such a name.
        """
        known = [task.name for task in self.parts]
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"{self.path}: tasks: there is no task {unknown[0]!r}; there are {', '.join(known)}")
        places = [index for index, name in enumerate(known) if name in names]
        found = self.model_copy(update={"tasks": tuple(self.parts[index] for index in places)})
        found._places = tuple(self.place(index) for index in places)
        return found

    def place(self, index: int) -> int:
        """The place of a task in the file."""
        return self._places[index] if self._places else index

    def method_key(self, index: int) -> str:
        """The place of a task's method."""
        return f"tasks[{self.place(index)}].method"

    def key(self, index: int, section: str) -> str:
        """The place of a task's section: in the task, or common to all."""
        place = self.place(index)
        shared = section in self._document and section not in self._document["tasks"][place]
        return section if shared else f"tasks[{place}].{section}"

    def task_file(self, task: TaskPart) -> Path:
        """The file of a trained task."""
        return self.output / "tasks" / f"{task.name}.safetensors"

    def run_folder(self, task: TaskPart) -> Path:
        """The folder of a task's checkpoint and log."""
        return self.output / "train" / task.name

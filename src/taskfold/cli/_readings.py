"""How saved tasks read what a server is sent, and word their answers: as `taskfold predict` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

from PIL import Image
from torch import Tensor

from .. import Bank, MultiTask, Task
from ..backbones import LoadedBackbone
from ..data import Preprocessing, Transform
from ..problems import Problem, problem_of
from ..serve import Asked, Form, Reading, Ready, Stacked
from ..text import Example, rank_classify
from ._output import UserError
from ._predict_texts import example_of
from ._preprocessed import preprocessing_of
from ._reader import Reader
from ._tasks import kind_of


def reading_of(task: Task, loaded: LoadedBackbone) -> Reading:
    """Of a task, by its kind of data.

    Raises:
        UserError: what its file says cannot be used here, or its kind of data is not served.
    """
    if (kind := kind_of(task)) not in READINGS:
        raise UserError(f"task {task.name!r} is for {kind}, and taskfold serve knows {', '.join(READINGS)}")
    return READINGS[kind](task, loaded)


@dataclass(frozen=True)
class ImageReading:
    """What tasks say of images: the likeliest classes first, numbers, labels."""

    task: Task
    problem: Problem
    transform: Transform
    shape: tuple[int, ...]
    way: str
    takes: Form = "image"

    @classmethod
    def of(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        """As `taskfold predict` makes images ready."""
        preprocessing = preprocessing_of(task, loaded)
        way = preprocessing.model_dump_json()
        problem, size = problem_of(task.info.problem, task.name), preprocessing.size
        return cls(_bare(task), problem, _transform(way), (3, size, size), way)

    def ready(self, content: Image.Image, asked: Asked) -> Ready:
        """Pixels."""
        del asked
        pixels = self.transform(content)
        return Ready(Stacked(tuple(pixels.shape), pixels.dtype), pixels)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        """As the task's problem words it; of classes the likeliest ones."""
        del ready
        return self.problem.answer(output.float().cpu(), self.task.info.labels, asked.top)


@lru_cache(maxsize=64)
def _transform(way: str) -> Transform:
    """Many tasks have one."""
    return Preprocessing.model_validate_json(way).transform(train=False)


@dataclass(frozen=True)
class Written:
    """Texts that are written, of readers that are alike."""

    way: str
    reader: Reader = field(compare=False)

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Example]) -> Sequence[str]:
        """What each task writes."""
        return self.reader.write(network, keys, values, len(values))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ranked:
    """Choices that are ranked, of readers that are alike."""

    way: str
    reader: Reader = field(compare=False)

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Example]) -> Sequence[tuple[float, ...]]:
        """Scores of each row's choices."""
        collator, normalised = self.reader.collator(True), self.reader.settings.length_normalised
        found = rank_classify(network, keys, values, collator, batch_size=len(values), length_normalised=normalised)
        return found.scores


@dataclass(frozen=True)
class TextReading:
    """Answers to texts: choices ranked, if there are any (the caller's, or the task's labels); else written."""

    reader: Reader
    labels: tuple[str, ...]
    way: str
    takes: Form = "text"
    shape: None = None

    @classmethod
    def of(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        """With the tokenizer of the backbone."""
        reader = Reader.of_task(task, loaded)
        return cls(reader, task.info.labels, f"{reader.information} {task.info.labels}")

    def ready(self, content: str, asked: Asked) -> Ready:
        """The prompt, and what to choose from."""
        among = asked.choices or self.labels
        kind = Ranked if among else Written
        settings = self.reader.settings.model_dump_json()
        return Ready(kind(settings, self.reader), example_of(self.reader, content, among), among)

    def said(self, output: Any, ready: Ready, asked: Asked) -> dict[str, Any]:
        """The answer, and what choices scored."""
        if not ready.about:
            return {"answer": output}
        order = sorted(zip(ready.about, output, strict=True), key=lambda pair: -pair[1])
        choices = [{"text": choice, "score": score} for choice, score in order[: asked.top]]
        return {"answer": order[0][0], "choices": choices}


def _dense(task: Task, loaded: LoadedBackbone) -> Reading:
    """An extra, and seconds to import."""
    return import_module(f"{__package__}._predict_dense").DenseReading.of(task, loaded)


def _bare(task: Task) -> Task:
    """What words need of a task, without its numbers."""
    return Task(task.name, task.method, {}, None, task.info)


READINGS: Mapping[str, Callable[[Task, LoadedBackbone], Reading]] = {
    "images": ImageReading.of,
    "texts": TextReading.of,
    "dense": _dense,
}
"""By a task's kind of data."""

"""A server's reading of images, and its answers, as in `taskfold predict`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import Image
from torch import Tensor

from .. import Task
from ..backbones import LoadedBackbone
from ..data import Preprocessing, Transform
from ..problems import Problem, problem_of
from ..serve import Asked, Form, Reading, Ready, Stacked
from ._preprocessed import preprocessing_of


@dataclass(frozen=True)
class ImageReading:
    """Answers to images: the likeliest classes first, numbers, labels."""

    labels: tuple[str, ...]
    problem: Problem
    transform: Transform
    shape: tuple[int, ...]
    way: str
    takes: Form = "image"

    @classmethod
    def of(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        preprocessing = preprocessing_of(task, loaded)
        way = preprocessing.model_dump_json()
        problem, size = problem_of(task.info.problem, task.name), preprocessing.size
        return cls(task.info.labels, problem, _transform(way), (3, size, size), way)

    def ready(self, content: Image.Image, asked: Asked) -> Ready:
        asked.refuse_choices()
        pixels = self.transform(content)
        return Ready(Stacked(tuple(pixels.shape), pixels.dtype), pixels)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        del ready
        return self.problem.answer(output.float().cpu(), self.labels, asked.top)


@lru_cache(maxsize=64)
def _transform(way: str) -> Transform:
    """A cached transform, since many tasks share one."""
    return Preprocessing.model_validate_json(way).transform(train=False)

"""A server's reading of texts, and its answers, as in `taskfold predict`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import Bank, MultiTask, Task
from ..backbones import LoadedBackbone
from ..serve import Asked, Form, Reading, Ready
from ..text import Example, rank_classify
from ._predict_texts import example_of
from ._reader import Reader


@dataclass(frozen=True)
class Written:
    """Texts to generate, for readers that are alike."""

    way: str
    reader: Reader = field(compare=False)

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Example]) -> Sequence[str]:
        """The generated texts of each task."""
        return self.reader.write(network, keys, values, len(values))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ranked:
    """Choices to rank, for readers that are alike."""

    way: str
    reader: Reader = field(compare=False)

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Example]) -> Sequence[tuple[float, ...]]:
        """The scores of each row's choices."""
        collator, normalised = self.reader.collator(True), self.reader.settings.length_normalised
        found = rank_classify(network, keys, values, collator, batch_size=len(values), length_normalised=normalised)
        return found.scores


@dataclass(frozen=True)
class TextReading:
    """Answers to texts: the choices ranked, given by the caller or the task's labels; else generated text."""

    reader: Reader
    labels: tuple[str, ...]
    way: str
    takes: Form = "text"
    shape: None = None

    @classmethod
    def of(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        reader = Reader.of_task(task, loaded)
        return cls(reader, task.info.labels, f"{reader.information} {task.info.labels}")

    def ready(self, content: str, asked: Asked) -> Ready:
        """The prompt, and the choices."""
        among = asked.choices or self.labels
        kind = Ranked if among else Written
        settings = self.reader.settings.model_dump_json()
        return Ready(kind(settings, self.reader), example_of(self.reader, content, among), among)

    def said(self, output: Any, ready: Ready, asked: Asked) -> dict[str, Any]:
        """The answer, and the scores of choices."""
        if not ready.about:
            return {"answer": output}
        order = sorted(zip(ready.about, output, strict=True), key=lambda pair: -pair[1])
        choices = [{"text": choice, "score": score} for choice, score in order[: asked.top]]
        return {"answer": order[0][0], "choices": choices}

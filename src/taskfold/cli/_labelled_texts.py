"""The common base of tasks on texts with labels, of words or of whole texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from rich.table import Table
from torch import Tensor

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..config import TaskPart
from ..evaluate import evaluating, where
from ..problems import Problem
from ..text.documents import LabelledTexts, Parts
from ..train import TaskSet
from ._asked import Asked, Predicted
from ._output import UserError
from ._predict_texts import answer_texts
from ._ready import Joint, Ready, Shown, keyed, listed
from ._tokens import Tokenizer

SHOWN = 6
"""Test texts in the report."""
Sample = tuple[dict[str, Tensor], Any]
"""`input_ids` and `attention_mask`, `[T]` each; the target, or one for each token."""


@dataclass(frozen=True)
class LabelledTextTask(Ready):
    """A task on texts with labels.

    Attributes:
        data: its texts.
        names: the outputs' names: classes, labels, levels, columns of numbers.
        problem: the meaning of the outputs.
        tokens: the tokenizer.
        origin: the texts' source, in short.
    """

    data: Parts[Any]
    names: tuple[str, ...]
    problem: Problem
    tokens: Tokenizer
    origin: str

    @classmethod
    def fitted(cls, task: TaskPart, data: Parts[Any]) -> tuple[Problem, tuple[str, ...]]:
        """The configuration's problem fitted to the texts, and the names of its outputs."""
        return task.problem.fitted([one.label for part in data.parts.values() for one in part])

    @classmethod
    def prepare(cls, task: TaskPart, data: Parts[Any], loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        """Uses the tokenizer of the backbone."""
        assert isinstance(task.source, LabelledTexts)
        longest = (known or {}).get("max_tokens", task.source.max_tokens)
        problem, names = cls.fitted(task, data)
        made = cls(data, names, problem, Tokenizer.of(loaded, longest), task.source.origin)
        made.tokens.check(loaded)
        notes = [
            f"{part}: {cut:,} texts are cut, longer than {longest} tokens"
            for part, texts in data.parts.items()
            if (cut := sum(map(made.is_cut, texts)))
        ]
        return replace(made, data=replace(data, notes=(*data.notes, *notes)))

    @classmethod
    def predict(cls, asked: Asked) -> Predicted:
        asked.refuse(cls.kind, choices="texts", output="dense targets")
        return *answer_texts(asked, lambda name: cls.reading(asked.model[name], asked.loaded)), cls.table

    @staticmethod
    @abstractmethod
    def table(found: Sequence[dict[str, Any]]) -> Table:
        """The predictions as a table."""

    @classmethod
    def example(cls, model: MultiTask, loaded: LoadedBackbone) -> dict[str, Tensor]:
        """Two texts, padded to the length that all the tasks take."""
        lengths = {name: Tokenizer.of_task(model[name], loaded).max_tokens for name in model.tasks}
        if len(set(lengths.values())) > 1:
            raise UserError(f"tasks of one network must take texts of one length, found {lengths}; export them apart")
        tokens = Tokenizer.of_task(model[next(iter(model.tasks))], loaded)
        return tokens.padded([cls.tokenized(tokens, words) for words in (["a"] * tokens.max_tokens, ["a", "b"])])

    @classmethod
    @abstractmethod
    def tokenized(cls, tokens: Tokenizer, words: Sequence[str]) -> dict[str, Tensor]:
        """The inputs of a text."""

    @abstractmethod
    def is_cut(self, one: Any) -> bool:
        """Whether a text is longer than the task's limit."""

    @abstractmethod
    def samples(self, texts: Sequence[Any]) -> Sequence[Sample]:
        """Texts as tokens, with their targets."""

    @abstractmethod
    def shown(self, model: MultiTask, texts: Sequence[Any]) -> Iterator[tuple[str, list[str]]]:
        """For each text: the text, the prediction, and the target."""

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names

    @property
    def head(self) -> int:
        return len(self.names)

    @property
    def information(self) -> dict[str, Any]:
        return {"kind": self.kind, "max_tokens": self.tokens.max_tokens}

    @property
    def belonging(self) -> dict[str, Any]:
        return super().belonging | {"problem": self.problem.as_json()}

    def sets(self, seed: int) -> TaskSet:
        del seed
        return TaskSet(self.samples(self.data.train), self.samples(self.data.val))  # type: ignore[arg-type]

    @classmethod
    def joint(cls, tasks: Sequence[Ready], seed: int) -> Joint:
        problems = {task.name: task.seams["problem"] for task in tasks}
        seams = {"problems": problems, "collate": tasks[0].seams["collate"]}
        return {task.name: task.sets(seed) for task in tasks}, seams

    def show(self, model: MultiTask) -> Shown:
        return Shown(rows=list(self.shown(model, self.data.test[:SHOWN])), titles=("says", "right"))

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "problem": self.problem.identity(),
            "preprocessing": self.information,
            "train": _digest(self.data.train),
            "val": _digest(self.data.val),
        }

    def keys(self, split: str) -> list[str]:
        """Of the first field, which is the input."""
        return keyed(next(iter(vars(one).values())) for one in getattr(self.data, split))

    def tested_on(self, chosen: Sequence[int]) -> Self:
        return replace(self, data=replace(self.data, test=[self.data.test[index] for index in chosen]))

    @property
    def measured(self) -> dict[str, Any]:
        return {"metrics": self.problem.metric_names, "test": _digest(self.data.test)}

    @property
    def record(self) -> dict[str, Any]:
        sizes = {part: len(texts) for part, texts in self.data.parts.items()}
        notes = list(self.data.notes)
        return {"name": self.name, "source": self.origin, "labels": list(self.names), **sizes, "notes": notes}


def in_batches(
    model: MultiTask, name: str, tokens: Tokenizer, samples: Sequence[Sample], size: int
) -> Iterator[tuple[Any, Sequence[Sample]]]:
    """Outputs of a task for texts, in batches of `size`, with the samples."""
    device = where(model, name)
    with evaluating(model):
        for at in range(0, len(samples), size):
            part = samples[at : at + size]
            inputs = tokens.padded([one for one, _ in part])
            yield model(**{key: one.to(device) for key, one in inputs.items()}, task=name), part


def _digest(texts: Sequence[Any]) -> str:
    return listed([*map(asdict, texts)], "texts")

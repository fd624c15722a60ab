"""Tasks that give every word of a text a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from pydantic import BaseModel
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import Plan, TaskPart
from ..evaluate import evaluating, where
from ..problems import IGNORED, Classification, Problem, TokenClassification, problem_of
from ..serve import Reading
from ..text import are_entities, entity_f1, few_shot
from ..text.words import Sentence, WordData, WordSource
from ..train import TaskSet
from ._asked import ROWS, Asked, Predicted
from ._images import scored
from ._output import UserError
from ._predict_texts import inputs_of
from ._reading_words import WordReading
from ._ready import Joint, PlacedError, Ready, Shelf, Shown, Tested, listed
from ._tokens import KEYS, Tokenizer, Tokens, words_out

SHOWN = 6
"""Test texts in the report."""


@dataclass(frozen=True)
class TaggedTask(Ready):
    """A task on the words of texts.

    Attributes:
        data: its texts.
        tags: names of the classes.
        problem: what the outputs mean.
        tokens: how texts become inputs.
        origin: where they come from, in short.
    """

    kind = "words"

    data: WordData
    tags: tuple[str, ...]
    problem: Problem
    tokens: Tokenizer
    origin: str

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> WordData:
        """The texts of all three parts."""
        del shelf
        assert isinstance(task.source, WordSource)
        data = task.source.load(task.name, _problem(task), plan.split_seed)
        learnt = {tag for one in data.train for tag in one.tags}
        if unseen := sorted({tag for one in (*data.val, *data.test) for tag in one.tags} - learnt):
            raise UserError(
                f"{task.source.origin}: classes that no training text has: {', '.join(unseen[:5])}; add some"
            )
        if len(learnt) < 2:
            raise UserError(f"{task.source.origin}: needs at least 2 classes, found {', '.join(learnt)}")
        return data

    @classmethod
    def ground(cls, loaded: LoadedBackbone) -> LoadedBackbone:
        """Features are the last hidden states, of each token."""
        return replace(loaded, features=hidden_states)

    @classmethod
    def prepare(cls, task: TaskPart, data: WordData, loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        """With the tokenizer of the backbone."""
        assert isinstance(task.source, WordSource)
        longest = (known or {}).get("max_tokens", task.source.max_tokens)
        problem, tags = _problem(task).fitted([one.tags for part in data.parts.values() for one in part])
        made = cls(data, tags, problem, Tokenizer.of(loaded, longest), task.source.origin)
        return replace(made, data=replace(data, notes=(*data.notes, *made._cut())))

    @classmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """The test texts; of a file without parts, all."""
        assert isinstance(source, WordSource)
        problem = problem_of(task.info.problem, task.name)
        data = source.load(task.name, problem, plan.split_seed if plan else 0, whole=plan is None)
        if odd := sorted({tag for one in data.test for tag in one.tags} - {*task.info.labels}):
            known = ", ".join(task.info.labels[:20])
            raise UserError(f"task {task.name!r} does not know {', '.join(odd[:5])}; its classes: {known}")
        return cls(data, task.info.labels, problem, Tokenizer.of_task(task, loaded), source.origin)

    @classmethod
    def predict(cls, asked: Asked) -> Predicted:
        """Every text for every task; words stand between spaces."""
        asked.refuse(cls.kind, choices="texts", output="dense targets")
        texts = [text.split() for text in inputs_of(asked.inputs, asked.lines)]
        if not texts or not all(texts):
            raise UserError("give at least one text, none of them empty, or a file of them with --lines")
        found: list[dict[str, Any]] = []
        errors: list[dict[str, str]] = []
        size = asked.batch_size or ROWS
        for name in asked.names:
            task = asked.model[name]
            tokens, problem = Tokenizer.of_task(task, asked.loaded), problem_of(task.info.problem, name)
            samples = [tokens(words) for words in texts]
            outputs = said_of(asked.model, name, tokens, samples, size)
            for words, (_, owners), output in zip(texts, samples, outputs, strict=True):
                if cut := tokens.cut(words, owners):
                    errors.append({"input": " ".join(words), "error": f"{name}: {cut}"})
                    continue
                answer = problem.answer(output, task.info.labels)
                found.append({"input": " ".join(words), "task": name, "words": words, **answer})
        return found, errors, _table

    @classmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        """Words that stand between spaces, and their classes."""
        tokens = Tokenizer.of_task(task, loaded)
        return WordReading(task.name, problem_of(task.info.problem, task.name), task.info.labels, tokens)

    @classmethod
    def example(cls, model: MultiTask, loaded: LoadedBackbone) -> dict[str, Tensor]:
        """Two texts, padded to the length that all the tasks take."""
        lengths = {name: Tokenizer.of_task(model[name], loaded).max_tokens for name in model.tasks}
        if len(set(lengths.values())) > 1:
            raise UserError(f"tasks of one network must take texts of one length, found {lengths}; export them apart")
        tokens = Tokenizer.of_task(model[next(iter(model.tasks))], loaded)
        inputs = tokens.collate([tokens(["a"] * tokens.max_tokens), tokens(["a", "b"])]).inputs
        return {key: inputs[key] for key in KEYS}

    def few(self, shots: int, seed: int) -> Self:
        """Few of the training texts."""
        return replace(self, data=replace(self.data, train=few_shot(self.data.train, shots, seed)))

    @property
    def name(self) -> str:
        """Of the task."""
        return self.data.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return self.tags

    @property
    def head(self) -> int:
        """One output for each class, of each token."""
        return len(self.tags)

    @property
    def information(self) -> dict[str, Any]:
        """How long a text may be."""
        return {"kind": self.kind, "max_tokens": self.tokens.max_tokens}

    @property
    def belonging(self) -> dict[str, Any]:
        """With the problem."""
        return super().belonging | {"problem": self.problem.as_json()}

    def sets(self, seed: int) -> TaskSet:
        """Tokens."""
        del seed
        return TaskSet(self._tokens(self.data.train), self._tokens(self.data.val))  # type: ignore[arg-type]

    @property
    def seams(self) -> dict[str, Any]:
        """The problem, and batches of tokens."""
        return {"problem": self.problem, "collate": self.tokens.collate}

    @classmethod
    def joint(cls, tasks: Sequence[Ready], seed: int) -> Joint:
        """The problem of each task."""
        mine = [task for task in tasks if isinstance(task, TaggedTask)]
        seams = {"problems": {task.name: task.problem for task in mine}, "collate": mine[0].tokens.collate}
        return {task.name: task.sets(seed) for task in tasks}, seams

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        """Scores of all words; of entities first, where the classes are those of entities."""
        samples = self._tokens(self.data.test)
        each = said_of(model, self.name, self.tokens, samples, batch_size)
        outputs = torch.cat(each)[None]
        targets = torch.cat([target[target != IGNORED] for _, target in samples])[None]
        self.problem.check_rows(outputs, targets, self.name)
        found = {"loss": float(self.problem.losses_of(outputs, targets)), **self.problem.scores(outputs, targets)}
        if are_entities(self.tags):
            said = [[self.tags[place] for place in one.argmax(-1).tolist()] for one in each]
            right = [one.tags[: len(tags)] for one, tags in zip(self.data.test, said, strict=True)]
            if (f1 := entity_f1(said, right)) is not None:
                found = {"loss": found.pop("loss"), "entity_f1": f1, **found}
        return scored(self.problem, found, targets.numel(), "words")

    def show(self, model: MultiTask) -> Shown:
        """A few texts, what is said of their words, and what is right."""
        chosen = list(self.data.test[:SHOWN])
        samples = [self.tokens(one.words) for one in chosen]
        outputs = said_of(model, self.name, self.tokens, samples, SHOWN)
        said = [self.problem.answer(output, self.tags)["said"] for output in outputs]
        rows = [(" ".join(one.words), [text, " ".join(one.tags)]) for one, text in zip(chosen, said, strict=True)]
        return Shown(rows=rows, titles=("says", "right"))

    @property
    def identity(self) -> dict[str, Any]:
        """The texts by content, and how they are read."""
        return {
            "problem": self.problem.identity(),
            "preprocessing": self.information,
            "train": listed([*map(asdict, self.data.train)], "texts"),
            "val": listed([*map(asdict, self.data.val)], "texts"),
        }

    @property
    def measured(self) -> dict[str, Any]:
        """The test texts, and what is measured on them."""
        return {"metrics": self.problem.metric_names, "test": listed([*map(asdict, self.data.test)], "texts")}

    @property
    def record(self) -> dict[str, Any]:
        """Sizes, classes, notes."""
        sizes = {part: len(texts) for part, texts in self.data.parts.items()}
        notes = list(self.data.notes)
        return {"name": self.name, "source": self.origin, "labels": list(self.tags), **sizes, "notes": notes}

    def _tokens(self, texts: Sequence[Sentence]) -> list[Tokens]:
        return [self.tokens(one.words, self.problem.target(one.tags, self.tags)) for one in texts]

    def _cut(self) -> list[str]:
        found: list[str] = []
        for part, texts in self.data.parts.items():
            seen = [int((self.tokens(one.words)[1] != IGNORED).sum()) for one in texts]
            if cut := sum(count < len(one.words) for count, one in zip(seen, texts, strict=True)):
                found.append(f"{part}: {cut:,} texts are cut, longer than {self.tokens.max_tokens} tokens")
        return found


def said_of(model: MultiTask, name: str, tokens: Tokenizer, samples: Sequence[Tokens], size: int) -> list[Tensor]:
    """What a task puts out for the words of each text, `[words, classes]`, on the CPU."""
    device, found = where(model, name), list[Tensor]()
    with evaluating(model):
        for at in range(0, len(samples), size):
            part = samples[at : at + size]
            found += words_out(model(**tokens.collate(part).to(device).inputs, task=name), part)
    return found


def hidden_states(output: Any) -> Tensor:
    """`last_hidden_state`, `[B, T, F]`. A name, so that models can be pickled.

    Raises:
        TypeError: the network puts out none.
    """
    found = getattr(output, "last_hidden_state", None)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"tasks of words need a network that puts out last_hidden_state, found {type(output).__name__}; give an "
            "encoder: packaged:minilm, hf:NAME"
        )
    return found


def _problem(task: TaskPart) -> Problem:
    if task.problem == Classification():
        return TokenClassification()
    if not task.problem.per_word:
        text = f"must be {TokenClassification.kind} for words of texts, found {task.problem.kind!r}; leave it out"
        raise PlacedError("problem", text)
    return task.problem


def _table(found: Sequence[dict[str, Any]]) -> Table:
    table = Table("task", "words and their classes", box=box.SIMPLE)
    for one in found:
        pairs = " ".join(f"{word}/{tag}" for word, tag in zip(one["words"], one["tags"], strict=True))
        table.add_row(Text(one["task"]), Text(pairs))
    return table

"""Tagging tasks: a class for every word of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from ..problems import IGNORED, Classification, Problem, TokenClassification, problem_of
from ..serve import Reading
from ..text import are_entities, entity_f1, few_shot
from ..text.words import Parts, Sentence, WordSource
from ._labelled_texts import SHOWN, LabelledTextTask, in_batches
from ._output import UserError
from ._reading_words import WordReading
from ._ready import PlacedError, Shelf, Tested
from ._scored import check_known, scored
from ._tokens import Tokenizer, Tokens, words_out


class TaggedTask(LabelledTextTask):
    kind = "words"

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> Parts[Sentence]:
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
    def fitted(cls, task: TaskPart, data: Parts[Sentence]) -> tuple[Problem, tuple[str, ...]]:
        """The classes are those of the words."""
        return _problem(task).fitted([one.tags for part in data.parts.values() for one in part])

    @classmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Reads the test texts; of a file without parts, all."""
        assert isinstance(source, WordSource)
        problem = problem_of(task.info.problem, task.name)
        data = source.load(task.name, problem, plan.split_seed if plan else 0, whole=plan is None)
        check_known(task.name, {tag for one in data.test for tag in one.tags}, task.info.labels, "classes")
        return cls(data, task.info.labels, problem, Tokenizer.of_task(task, loaded), source.origin)

    @classmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        tokens = Tokenizer.of_task(task, loaded)
        return WordReading(problem_of(task.info.problem, task.name), task.info.labels, tokens)

    @staticmethod
    def table(found: Sequence[dict[str, Any]]) -> Table:
        table = Table("task", "words and their classes", box=box.SIMPLE)
        for one in found:
            pairs = " ".join(f"{word}/{tag}" for word, tag in zip(one["words"], one["tags"], strict=True))
            table.add_row(Text(one["task"]), Text(pairs))
        return table

    @classmethod
    def tokenized(cls, tokens: Tokenizer, words: Sequence[str]) -> dict[str, Tensor]:
        return tokens(words)[0]

    def few(self, shots: int, seed: int) -> Self:
        return replace(self, data=replace(self.data, train=few_shot(self.data.train, shots, seed)))

    @property
    def seams(self) -> dict[str, Any]:
        return {"problem": self.problem, "collate": self.tokens.collate}

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        """Scores of all words; those of entities first, if the classes are entities'."""
        samples = self.samples(self.data.test)
        each = said_of(model, self.name, self.tokens, samples, batch_size)
        outputs = torch.cat(each)[None]
        targets = torch.cat([target[target != IGNORED] for _, target in samples])[None]
        self.problem.check_rows(outputs, targets, self.name)
        found = {"loss": float(self.problem.losses_of(outputs, targets)), **self.problem.scores(outputs, targets)}
        if are_entities(self.names):
            said = [[self.names[place] for place in one.argmax(-1).tolist()] for one in each]
            right = [one.tags[: len(tags)] for one, tags in zip(self.data.test, said, strict=True)]
            if (f1 := entity_f1(said, right)) is not None:
                found = {"loss": found.pop("loss"), "entity_f1": f1, **found}
        return scored(self.problem, found, targets.numel(), "words")

    def shown(self, model: MultiTask, texts: Sequence[Sentence]) -> Iterator[tuple[str, list[str]]]:
        outputs = said_of(model, self.name, self.tokens, [self.tokens(one.words) for one in texts], SHOWN)
        for one, output in zip(texts, outputs, strict=True):
            yield " ".join(one.words), [self.problem.answer(output, self.names)["said"], " ".join(one.tags)]

    def samples(self, texts: Sequence[Sentence]) -> list[Tokens]:
        """Tokens; the first token of each word has its class."""
        return [self.tokens(one.words, self.problem.target(one.tags, self.names)) for one in texts]

    def is_cut(self, one: Sentence) -> bool:
        """Whether some words have no token."""
        return bool(self.tokens.cut(one.words, self.tokens(one.words)[1]))


def said_of(model: MultiTask, name: str, tokens: Tokenizer, samples: Sequence[Tokens], size: int) -> list[Tensor]:
    """Outputs of a task for the words of each text, `[words, classes]`, on the CPU."""
    return [one for made, part in in_batches(model, name, tokens, samples, size) for one in words_out(made, part)]


def hidden_states(output: Any) -> Tensor:
    """`last_hidden_state`, `[B, T, F]`. A named function, so that models can be pickled."""
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

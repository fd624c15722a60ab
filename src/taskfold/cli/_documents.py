"""Tasks that say something of a whole text: a class, numbers, labels, a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import BaseModel
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor

from .. import MultiTask, Task
from ..backbones import LoadedBackbone, first_token, from_pooler
from ..config import Plan, TaskPart
from ..data import thin_out
from ..evaluate import Tally, evaluating, where
from ..problems import Classification, Problem, problem_of
from ..serve import Reading
from ..text.documents import Document, DocumentData, DocumentSource
from ..train import Labelled, TaskSet, label_collate
from ._asked import ROWS, Asked, Predicted
from ._images import of_classes, scored
from ._output import UserError
from ._predict_texts import inputs_of
from ._reading_words import DocumentReading
from ._ready import Joint, PlacedError, Ready, Shelf, Shown, Tested, listed
from ._tokens import Tokenizer

SHOWN = 6
"""Test texts in the report."""
Sample = tuple[dict[str, Tensor], Any]
"""`input_ids` and `attention_mask`, `[T]` each; the target."""


class Samples(list[Sample]):
    """Texts as tokens, whose targets are known before any is asked for."""

    @property
    def targets(self) -> list[Any]:
        """Of all of them."""
        return [target for _, target in self]


@dataclass(frozen=True)
class DocumentTask(Ready):
    """A task on whole texts.

    Attributes:
        data: its texts.
        names: of the outputs: classes, labels, levels, columns of numbers.
        problem: what the outputs mean.
        tokens: how texts become inputs.
        origin: where they come from, in short.
    """

    kind = "documents"

    data: DocumentData
    names: tuple[str, ...]
    problem: Problem
    tokens: Tokenizer
    origin: str

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> DocumentData:
        """The texts of all three parts; their labels make a problem."""
        del shelf
        assert isinstance(task.source, DocumentSource)
        if task.problem.per_word:
            raise PlacedError("problem", f"{task.problem.kind!r} is for words of texts; give kind: words for these")
        data = task.source.load(task.name, task.problem, plan.split_seed)
        problem, names = _fitted(task.problem, data)
        targets = {part: [problem.target(one.label, names) for one in texts] for part, texts in data.parts.items()}
        if wrong := problem.check(targets, names):
            raise UserError(f"{task.source.origin}: {'; '.join(wrong)}")
        if problem.of_classes and len(names) < 2:
            raise UserError(f"{task.source.origin}: needs at least 2 classes, found {', '.join(names)}")
        return data

    @classmethod
    def ground(cls, loaded: LoadedBackbone) -> LoadedBackbone:
        """Features are the pooler's if it was trained, else the first token's: neither sees padding.

        Raises:
            UserError: the network generates text.
        """
        if loaded.generative is not None:
            raise UserError(
                f"{loaded.name} generates text; tasks of whole texts need an encoder: packaged:minilm, hf:NAME (or ask "
                "it for answers: kind examples)"
            )
        return replace(loaded, features=from_pooler if loaded.features is from_pooler else first_token)

    @classmethod
    def prepare(
        cls, task: TaskPart, data: DocumentData, loaded: LoadedBackbone, known: Mapping[str, Any] | None
    ) -> Self:
        """With the tokenizer of the backbone."""
        assert isinstance(task.source, DocumentSource)
        longest = (known or {}).get("max_tokens", task.source.max_tokens)
        problem, names = _fitted(task.problem, data)
        made = cls(data, names, problem, Tokenizer.of(loaded, longest), task.source.origin)
        return replace(made, data=replace(data, notes=(*data.notes, *made._cut())))

    @classmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """The test texts; of a file without parts, all. Targets count as the task's outputs do."""
        assert isinstance(source, DocumentSource)
        problem = problem_of(task.info.problem, task.name)
        if plan is not None:
            [problem] = [part.problem for part in plan.parts if part.name == task.name]
        data = source.load(task.name, problem, plan.split_seed if plan else 0, whole=plan is None)
        found, names = problem.fitted([one.label for one in data.test])
        used = {name for one in data.test for name in found.used(found.target(one.label, names), names)}
        if odd := sorted(used - {*task.info.labels}):
            known = ", ".join(task.info.labels[:20])
            raise UserError(f"task {task.name!r} does not know {', '.join(odd[:5])}; its labels: {known}")
        kept = replace(problem_of(task.info.problem, task.name), metrics=problem.metrics, loss=problem.loss)
        return cls(data, task.info.labels, kept, Tokenizer.of_task(task, loaded), source.origin)

    @classmethod
    def predict(cls, asked: Asked) -> Predicted:
        """Every text for every task."""
        asked.refuse(cls.kind, choices="texts", output="dense targets")
        texts = inputs_of(asked.inputs, asked.lines)
        if not texts or not all(map(str.strip, texts)):
            raise UserError("give at least one text, none of them empty, or a file of them with --lines")
        found: list[dict[str, Any]] = []
        errors: list[dict[str, str]] = []
        for name in asked.names:
            task = asked.model[name]
            tokens, problem = Tokenizer.of_task(task, asked.loaded), problem_of(task.info.problem, name)
            long = {text: words for text in texts if (words := tokens.long(text))}
            errors += [{"input": text, "error": f"{name}: {words}"} for text, words in long.items()]
            short = [text for text in texts if text not in long]
            samples = Samples((tokens.text(text), 0) for text in short)
            outputs = _outputs(asked.model, name, tokens, samples, asked.batch_size or ROWS)
            for text, output in zip(short, outputs, strict=True):
                found.append({"input": text, "task": name, **problem.answer(output, task.info.labels)})
        return found, errors, _table

    @classmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        """Whole texts."""
        tokens = Tokenizer.of_task(task, loaded)
        return DocumentReading(task.name, problem_of(task.info.problem, task.name), task.info.labels, tokens)

    @classmethod
    def example(cls, model: MultiTask, loaded: LoadedBackbone) -> dict[str, Tensor]:
        """Two texts, padded to the length that all the tasks take."""
        lengths = {name: Tokenizer.of_task(model[name], loaded).max_tokens for name in model.tasks}
        if len(set(lengths.values())) > 1:
            raise UserError(f"tasks of one network must take texts of one length, found {lengths}; export them apart")
        tokens = Tokenizer.of_task(model[next(iter(model.tasks))], loaded)
        return tokens.padded([tokens.text("a " * tokens.max_tokens), tokens.text("a b")])

    def few(self, shots: int, seed: int) -> Self:
        """Classes in proportion."""
        targets = [self.problem.target(one.label, self.names) for one in self.data.train]
        chosen = thin_out(self.problem.strata(targets), shots, seed, "train")
        return replace(self, data=replace(self.data, train=[self.data.train[n] for n in chosen]))

    @property
    def name(self) -> str:
        """Of the task."""
        return self.data.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.names

    @property
    def head(self) -> int:
        """One output for each of these."""
        return len(self.names)

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
        return TaskSet(self._samples(self.data.train), self._samples(self.data.val))  # type: ignore[arg-type]

    @property
    def seams(self) -> dict[str, Any]:
        """The problem, and batches of tokens."""
        return {"problem": self._training, "collate": Collate(self.tokens)}

    @classmethod
    def joint(cls, tasks: Sequence[Ready], seed: int) -> Joint:
        """The problem of each task."""
        mine = [task for task in tasks if isinstance(task, DocumentTask)]
        seams = {"problems": {task.name: task._training for task in mine}, "collate": mine[0].seams["collate"]}
        return {task.name: task.sets(seed) for task in tasks}, seams

    def settle(self, model: MultiTask) -> None:
        """Of numbers: from now on the head puts out the labels' units."""
        if (head := model[self.name].head) is not None:
            self._training.settle(head)

    @property
    def _training(self) -> Problem:
        return self.problem.for_training([self.problem.target(one.label, self.names) for one in self.data.train])

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        """What the problem measures, and the loss."""
        samples = self._samples(self.data.test)
        outputs = _outputs(model, self.name, self.tokens, samples, batch_size)
        targets = Collate(self.tokens)(samples).known
        assert isinstance(targets, Tensor)
        self.problem.check_rows(outputs, targets, self.name)
        own = self.problem.scores(outputs, targets)
        if type(self.problem) is not Classification:
            loss = float(self.problem.losses_of(outputs, targets).double().mean())
            return scored(self.problem, {"loss": loss, **own}, len(samples), "texts")
        tally = Tally()
        tally.add(outputs, targets)
        more = {name: value for name, value in own.items() if name != "accuracy"}
        return of_classes(tally.result(confusion=True), self.names, more, "texts")

    def show(self, model: MultiTask) -> Shown:
        """A few texts, what is said of them, and what is right."""
        chosen = self.data.test[:SHOWN]
        samples = self._samples(chosen)
        outputs = _outputs(model, self.name, self.tokens, samples, SHOWN)
        said = [self.problem.answer(output, self.names)["said"] for output in outputs]
        right = [self.problem.said(target, self.names) for target in samples.targets]
        rows = [(one.text, [text, other]) for one, text, other in zip(chosen, said, right, strict=True)]
        return Shown(rows=rows, titles=("says", "right"))

    @property
    def identity(self) -> dict[str, Any]:
        """The texts by content, and how they are read."""
        return {
            "labels": list(self.names),
            "problem": self.problem.identity(),
            "preprocessing": self.information,
            "train": listed(_plain(self.data.train), "texts"),
            "val": listed(_plain(self.data.val), "texts"),
        }

    @property
    def measured(self) -> dict[str, Any]:
        """The test texts, and what is measured on them."""
        return {"metrics": self.problem.metric_names, "test": listed(_plain(self.data.test), "texts")}

    @property
    def record(self) -> dict[str, Any]:
        """Sizes, names, notes."""
        sizes = {part: len(texts) for part, texts in self.data.parts.items()}
        notes = list(self.data.notes)
        return {"name": self.name, "source": self.origin, "labels": list(self.names), **sizes, "notes": notes}

    def _samples(self, texts: Sequence[Document]) -> Samples:
        return Samples((self.tokens.text(one.text), self.problem.target(one.label, self.names)) for one in texts)

    def _cut(self) -> list[str]:
        return [
            f"{part}: {cut:,} texts are cut, longer than {self.tokens.max_tokens} tokens"
            for part, texts in self.data.parts.items()
            if (cut := sum(self.tokens.count(one.text) > self.tokens.max_tokens for one in texts))
        ]


@dataclass(frozen=True)
class Collate:
    """Texts as a batch, padded."""

    tokens: Tokenizer

    def __call__(self, samples: Sequence[Sample]) -> Labelled:
        """With the targets of all of them."""
        found = label_collate([(torch.tensor(0), target) for _, target in samples])
        return replace(found, inputs=self.tokens.padded([inputs for inputs, _ in samples]))


def _outputs(model: MultiTask, name: str, tokens: Tokenizer, samples: Samples, size: int) -> Tensor:
    """What a task puts out for texts, `[N, outputs]`, float32 on the CPU."""
    device, found = where(model, name), list[Tensor]()
    with evaluating(model):
        for at in range(0, len(samples), size):
            inputs = tokens.padded([one for one, _ in samples[at : at + size]])
            made = model(**{key: one.to(device) for key, one in inputs.items()}, task=name)
            found.append(made.float().cpu())
    return torch.cat(found) if found else torch.empty(0)


def _fitted(problem: Problem, data: DocumentData) -> tuple[Problem, tuple[str, ...]]:
    return problem.fitted([one.label for part in data.parts.values() for one in part])


def _plain(texts: Sequence[Document]) -> list[Any]:
    return [{"text": one.text, "label": one.label} for one in texts]


def _table(found: Sequence[dict[str, Any]]) -> Table:
    table = Table("task", "text", "says", box=box.SIMPLE)
    for one in found:
        table.add_row(Text(one["task"]), Text(one["input"]), Text(one["said"]))
    return table

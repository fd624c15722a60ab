"""Tasks on whole texts: classification, regression, labels, ordinal levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from ..problems import Problem, problem_of
from ..serve import Reading
from ..text.documents import Document, DocumentSource, Parts
from ..train import Labelled, label_collate
from ._labelled_texts import SHOWN, LabelledTextTask, Sample, in_batches
from ._output import UserError
from ._reading_words import DocumentReading
from ._ready import PlacedError, Shelf, Tested
from ._scored import check_known, of_classes, scored
from ._tokens import Tokenizer


class Samples(list[Sample]):
    """Texts as tokens; targets are known without tokenizing."""

    @property
    def targets(self) -> list[Any]:
        return [target for _, target in self]


class DocumentTask(LabelledTextTask):
    kind = "documents"

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> Parts[Document]:
        """Reads the texts of all three parts; their labels make a problem."""
        del shelf
        assert isinstance(task.source, DocumentSource)
        if task.problem.per_word:
            raise PlacedError("problem", f"{task.problem.kind!r} is for words of texts; give kind: words for these")
        data = task.source.load(task.name, task.problem, plan.split_seed)
        problem, names = cls.fitted(task, data)
        targets = {part: [problem.target(one.label, names) for one in texts] for part, texts in data.parts.items()}
        if wrong := problem.check(targets, names):
            raise UserError(f"{task.source.origin}: {'; '.join(wrong)}")
        if problem.of_classes and len(names) < 2:
            raise UserError(f"{task.source.origin}: needs at least 2 classes, found {', '.join(names)}")
        return data

    @classmethod
    def ground(cls, loaded: LoadedBackbone) -> LoadedBackbone:
        """Features are the pooler's output if it was trained, else the first token's: neither depends on padding."""
        if loaded.generative is not None:
            raise UserError(
                f"{loaded.name} generates text; tasks of whole texts need an encoder: packaged:minilm, hf:NAME (or ask "
                "it for answers: kind examples)"
            )
        return replace(loaded, features=from_pooler if loaded.features is from_pooler else first_token)

    @classmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Reads the test texts; of a file without parts, all. Targets get the task's order of classes."""
        assert isinstance(source, DocumentSource)
        problem = problem_of(task.info.problem, task.name)
        if plan is not None:
            [problem] = [part.problem for part in plan.parts if part.name == task.name]
        data = source.load(task.name, problem, plan.split_seed if plan else 0, whole=plan is None)
        found, names = problem.fitted([one.label for one in data.test])
        used = {name for one in data.test for name in found.used(found.target(one.label, names), names)}
        check_known(task.name, used, task.info.labels)
        kept = replace(problem_of(task.info.problem, task.name), metrics=problem.metrics, loss=problem.loss)
        return cls(data, task.info.labels, kept, Tokenizer.of_task(task, loaded), source.origin)

    @classmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        tokens = Tokenizer.of_task(task, loaded)
        return DocumentReading(problem_of(task.info.problem, task.name), task.info.labels, tokens)

    @staticmethod
    def table(found: Sequence[dict[str, Any]]) -> Table:
        table = Table("task", "text", "says", box=box.SIMPLE)
        for one in found:
            table.add_row(Text(one["task"]), Text(one["input"]), Text(one["said"]))
        return table

    @classmethod
    def tokenized(cls, tokens: Tokenizer, words: Sequence[str]) -> dict[str, Tensor]:
        return tokens.text(" ".join(words))

    def few(self, shots: int, seed: int) -> Self:
        """Chooses texts with classes in proportion."""
        targets = [self.problem.target(one.label, self.names) for one in self.data.train]
        chosen = thin_out(self.problem.strata(targets), shots, seed, "train")
        return replace(self, data=replace(self.data, train=[self.data.train[n] for n in chosen]))

    @property
    def seams(self) -> dict[str, Any]:
        return {"problem": self._training, "collate": Collate(self.tokens)}

    def settle(self, model: MultiTask) -> None:
        """After a regression, the head's outputs are in the labels' units."""
        if (head := model[self.name].head) is not None:
            self._training.settle(head)

    @property
    def _training(self) -> Problem:
        return self.problem.for_training([self.problem.target(one.label, self.names) for one in self.data.train])

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        samples = self.samples(self.data.test)
        outputs = _outputs(model, self.name, self.tokens, samples, batch_size)
        targets = Collate(self.tokens)(samples).known
        assert isinstance(targets, Tensor)
        self.problem.check_rows(outputs, targets, self.name)
        if not self.problem.of_classes:
            loss = float(self.problem.losses_of(outputs, targets).double().mean())
            own = self.problem.scores(outputs, targets)
            return scored(self.problem, {"loss": loss, **own}, len(samples), "texts")
        return of_classes(self.problem, outputs, targets, self.names, "texts", size=len(samples))

    def shown(self, model: MultiTask, texts: Sequence[Document]) -> Iterator[tuple[str, list[str]]]:
        samples = self.samples(texts)
        outputs = _outputs(model, self.name, self.tokens, samples, SHOWN)
        for one, output, target in zip(texts, outputs, samples.targets, strict=True):
            said = self.problem.answer(output, self.names)["said"]
            yield one.text, [said, self.problem.said(target, self.names)]

    @property
    def identity(self) -> dict[str, Any]:
        return {"labels": list(self.names), **super().identity}

    def samples(self, texts: Sequence[Document]) -> Samples:
        return Samples((self.tokens.text(one.text), self.problem.target(one.label, self.names)) for one in texts)

    def is_cut(self, one: Document) -> bool:
        return self.tokens.count(one.text) > self.tokens.max_tokens


@dataclass(frozen=True)
class Collate:
    """A batch of texts, padded, with their targets."""

    tokens: Tokenizer

    def __call__(self, samples: Sequence[Sample]) -> Labelled:
        found = label_collate([(torch.tensor(0), target) for _, target in samples])
        return replace(found, inputs=self.tokens.padded([inputs for inputs, _ in samples]))


def _outputs(model: MultiTask, name: str, tokens: Tokenizer, samples: Samples, size: int) -> Tensor:
    """Outputs of a task for texts, `[N, outputs]`, float32 on the CPU."""
    found = [made.float().cpu() for made, _ in in_batches(model, name, tokens, samples, size)]
    return torch.cat(found) if found else torch.empty(0)

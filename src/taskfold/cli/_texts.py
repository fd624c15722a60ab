"""Tasks that answer texts with texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from pydantic import BaseModel

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import Plan, TaskPart
from ..evaluate import Metrics
from ..serve import Reading
from ..text import Example, exact_match, few_shot, rank_classify
from ..text.configured import TextData, TextSettings, TextSource
from ..train import TaskSet
from ._asked import Asked, Predicted
from ._output import UserError
from ._predict_texts import answer_texts, text_table
from ._reader import READING, Reader
from ._reading_texts import TextReading
from ._ready import Ready, Shelf, Shown, Tested, keyed, listed
from ._scored import TITLES, columns_of, doubt_of, scores_of

SHOWN = 6
"""Test examples in the report."""


@dataclass(frozen=True)
class TextTask(Ready):
    """A task on texts.

    Attributes:
        data: its examples.
        reader: the tokenizer and its settings.
        origin: the examples' source, in short.
    """

    kind = "texts"
    data: TextData
    reader: Reader
    origin: str

    @classmethod
    def read(cls, plan: Plan, task: TaskPart, shelf: Shelf) -> TextData:
        del shelf
        assert isinstance(task.source, TextSource)
        data, origin = task.source.load(task.name, plan.split_seed), task.source.origin
        for part in ("train", "val", "test"):
            if not len(getattr(data, part)):
                raise UserError(f"{origin} has no {part} examples; it needs at least one")
        if "rank" in (task.text.metrics or ()) and not all(example.choices for example in data.test):
            raise UserError(f"{origin} has test examples without choices; leave rank out of text.metrics")
        return data

    @classmethod
    def prepare(cls, task: TaskPart, data: TextData, loaded: LoadedBackbone, known: Mapping[str, Any] | None) -> Self:
        assert isinstance(task.source, TextSource)
        read = {key: value for key, value in (known or {}).items() if key in READING}
        settings = TextSettings.model_validate(read | task.text.model_dump(exclude_unset=True))
        return cls(data, Reader.of(loaded, settings, data.prompt), task.source.origin)

    @classmethod
    def saved(cls, source: BaseModel, task: Task, loaded: LoadedBackbone, plan: Plan | None) -> Self:
        """Reads the test examples; of a file without parts, all."""
        assert isinstance(source, TextSource)
        data = source.measured(task.name) if plan is None else source.load(task.name, plan.split_seed)
        return cls(data, Reader.of_task(task, loaded), source.origin)

    @classmethod
    def predict(cls, asked: Asked) -> Predicted:
        asked.refuse(cls.kind, output="dense targets")
        return *answer_texts(asked, lambda name: cls.reading(asked.model[name], asked.loaded)), text_table

    @classmethod
    def reading(cls, task: Task, loaded: LoadedBackbone) -> Reading:
        return TextReading.of(task, loaded)

    def few(self, shots: int, seed: int) -> Self:
        """Chooses training examples; validation keeps all of its own."""
        return replace(self, data=replace(self.data, train=few_shot(self.data.train, shots, seed)))

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The choices, if all examples have the same."""
        return self.data.choices

    @property
    def head(self) -> None:
        """None: the network's own output is text."""
        return None

    @property
    def information(self) -> dict[str, Any]:
        return self.reader.information

    def sets(self, seed: int) -> TaskSet:
        return TaskSet(list(self.data.train), list(self.data.val))  # type: ignore[arg-type]

    @property
    def seams(self) -> dict[str, Any]:
        """Three losses, ranked choices, rows of tokens."""
        settings = self.reader.settings
        return {
            "objective": settings.objective(),
            "measure": settings.measure(),
            "collate": self.reader.collator(settings.choosing),
        }

    def test(self, model: MultiTask, batch_size: int) -> Tested:
        """Exact match, or the share of answers that rank first, or both."""
        examples, settings = self.data.test, self.reader.settings
        found: dict[str, float] = {}
        classes: Metrics | None = None
        for metric in settings.metrics or self.data.metrics:
            if metric == "rank":
                choosing, normalised = self.reader.collator(True), settings.length_normalised
                ranked = rank_classify(
                    model, self.name, examples, choosing, batch_size=batch_size, length_normalised=normalised
                )
                found["rank_accuracy"] = ranked.accuracy
                classes = _of_choices(self.labels, examples, ranked.predictions)
            else:
                written = self.reader.write(model, self.name, examples, batch_size)
                found["exact_match"] = exact_match(written, [example.target for example in examples])
        columns = {name.replace("_", " "): f"{value:.2%}" for name, value in found.items()}
        main, count = next(iter(found.values())), len(examples)
        details: dict[str, Any] = {"accuracy": main, **found, "count": count}
        if classes is None:
            return Tested(main, found, details, columns | {"examples": f"{count:,}"}, count, "examples")
        kept = {name: value for name, value in classes.as_json().items() if name not in ("loss", "top5", "accuracy")}
        return Tested(
            main,
            found | scores_of(classes),
            {**details, **kept, "labels": list(self.labels)},
            {**columns, **columns_of(classes), "examples": f"{count:,}"},
            count,
            "examples",
            titles=TITLES,
            confusion=classes.confusion or (),
            doubt=doubt_of(classes, self.labels, "examples"),
        )

    def show(self, model: MultiTask) -> Shown:
        examples = list(self.data.test[:SHOWN])
        if self.data.open or not all(example.choices for example in examples):
            said = self.reader.write(model, self.name, examples, SHOWN)
        else:
            normalised = self.reader.settings.length_normalised
            ranked = rank_classify(
                model, self.name, examples, self.reader.collator(True), batch_size=SHOWN, length_normalised=normalised
            )
            said = [example.choices[n] for example, n in zip(examples, ranked.predictions, strict=True)]
        rows = [(_short(e.input), [_short(text), _short(e.target)]) for e, text in zip(examples, said, strict=True)]
        return Shown(rows=rows, titles=("says", "right"))

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "text": self.reader.settings.model_dump(mode="json", exclude={"metrics", "num_beams"}),
            "train": listed([*map(asdict, self.data.train)], "examples"),
            "val": listed([*map(asdict, self.data.val)], "examples"),
        }

    def keys(self, split: str) -> list[str]:
        return keyed(one.input for one in getattr(self.data, split))

    def tested_on(self, chosen: Sequence[int]) -> Self:
        return replace(self, data=replace(self.data, test=[self.data.test[index] for index in chosen]))

    @property
    def measured(self) -> dict[str, Any]:
        how = self.reader.settings.model_dump(mode="json", include={"metrics", "num_beams"})
        return {"text": how, "test": listed([*map(asdict, self.data.test)], "examples")}

    @property
    def record(self) -> dict[str, Any]:
        data = self.data
        sizes = {"train": len(data.train), "val": len(data.val), "test": len(data.test)}
        return {
            "name": data.name,
            "source": self.origin,
            "labels": list(self.labels),
            **sizes,
            "notes": list(data.notes),
        }


def _of_choices(labels: Sequence[str], examples: Sequence[Example], said: Sequence[int]) -> Metrics | None:
    """Scores of examples that have the same choices, in any order; None: their choices differ."""
    if len(labels) < 2:
        return None
    cells = [[0] * len(labels) for _ in labels]
    for example, choice in zip(examples, said, strict=True):
        right = example.target if example.answer is None else example.choices[example.answer]
        cells[labels.index(right)][labels.index(example.choices[choice])] += 1
    return Metrics.of(cells, math.nan)


def _short(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return (line if len(line) <= limit else f"{line[: limit - 1]}…") or "–"

"""Sources of a text task's examples, in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from ._files import InFiles, Share
from ._text_data import TextData, TextSource
from .sources import read_examples, topic_task
from .t0 import HELD_OUT, SEEDS, T0Task
from .templates import templates


class Examples(InFiles, TextSource):
    """The user's files, .jsonl, .csv or .tsv: one for each part, or one that is split by seed.

    Columns are `input`, `target` and perhaps `choices`; or `text` and `label`. Equal inputs stay in one part.
    """

    kind: Literal["examples"] = "examples"

    @property
    def origin(self) -> str:
        return f"examples:{self.first_name}"

    def load(self, name: str, seed: int = 0) -> TextData:
        """The parts of the files; parts without a file are taken out of the others by seed."""
        read = self.read_parts(read_examples)
        _check_labels({key: {example.choices for example in part} for key, part in read.items()})
        parts, notes = self.split(read, lambda example: example.input, seed, "examples", "inputs")
        return TextData(name, parts["train"], parts["val"], parts["test"], notes)

    def measured(self, name: str) -> TextData:
        """The test file; of a single file all examples."""
        if self.file is None:
            return self.load(name)
        return TextData(name, (), (), read_examples(self.file))


def _packaged_or_path(value: object) -> object:
    return Path(value) if isinstance(value, str) and not value.startswith("packaged:") else value


class Topics(TextSource):
    """Texts to classify: `packaged:bbc`, a folder with a folder per class, or a file. See `topic_task`.

    Attributes:
        texts: `packaged:bbc`, a folder with a folder of texts for each class, or a file of `text` and `label`.
        prompt: the network's input, with `{text}` for the text.
        max_words: the most words of a text; longer texts are cut; null: no limit.
        words: the network's answer, by class; null: the class's name.
        val_fraction: the share of the training texts that becomes val.
        test_fraction: the share of all texts that becomes test.
    """

    kind: Literal["topics"] = "topics"
    texts: Annotated[Path | str, BeforeValidator(_packaged_or_path)]
    prompt: str = "{text}\nTopic:"
    max_words: PositiveInt | None = 128
    words: dict[str, str] | None = None
    val_fraction: Share = 0.1
    test_fraction: Share = 0.2

    @property
    def origin(self) -> str:
        return f"topics:{self.texts.name if isinstance(self.texts, Path) else self.texts.removeprefix('packaged:')}"

    def load(self, name: str, seed: int = 0) -> TextData:
        found = topic_task(
            self.texts,
            seed=seed,
            val=self.val_fraction,
            test=self.test_fraction,
            prompt=self.prompt,
            max_words=self.max_words,
            words=self.words,
        )
        return TextData(name, found.train, found.val, found.test, open=False, prompt=self.prompt)


class T0(TextSource):
    """A held-out task of T0: few-shot files by seed, and promptsource's templates. See `text.t0.T0Task`.

    The file of `seed` is for training, those of the other seeds for validation, `validation.jsonl` for tests.

    Attributes:
        root: the folder of few-shot files.
        name: the task's name there.
        templates: promptsource's folder of templates, or one file of them.
        shots: the number of training examples; null: all in the file.
        seed: the seed of the few-shot file for training.
        seeds: the seeds of all few-shot files; those of the other seeds are the validation set.
        template: the name of one template; null: all.
    """

    kind: Literal["t0"] = "t0"
    root: Path
    name: str
    templates: Path
    shots: PositiveInt | None = None
    seed: int = Field(default=0, ge=0)
    seeds: tuple[int, ...] = Field(default=SEEDS, min_length=2)
    template: str | None = None

    @property
    def origin(self) -> str:
        return f"t0:{self.name}"

    def load(self, name: str, seed: int = 0) -> TextData:
        """The parts are files, so that the run's seed has no effect."""
        known = HELD_OUT.get(self.name)
        inside = self.templates / known.templates if known else self.templates
        task = T0Task(
            self.root, self.name, templates(inside if inside.is_dir() else self.templates), self.shots, self.seeds
        )
        train = task.few_shot(self.seed, template=self.template)
        inputs = {example.input for example in train}
        others = [e for other in self.seeds if other != self.seed for e in task.few_shot(other, template=self.template)]
        val = [example for example in dict.fromkeys(others) if example.input not in inputs]
        if not val:
            raise ValueError(
                f"T0 task {self.name!r}: the other seeds' files hold nothing that seed {self.seed}'s lacks"
            )
        test = task.validation(template=self.template)
        return TextData(name, train, val, test, ("val: the few-shot files of the other seeds",), open=False)


def _check_labels(choices: Mapping[str, set[tuple[str, ...]]]) -> None:
    """Checks that all files of `text` and `label` have the same labels, since these are the choices."""
    alike = {part: next(iter(found)) for part, found in choices.items() if len(found) == 1}
    if len(alike) == len(choices) and len({frozenset(labels) for labels in alike.values()}) > 1:
        each = "; ".join(f"{part}: {', '.join(labels) or 'none'}" for part, labels in alike.items())
        raise ValueError(f"the files have different labels ({each}); give them a column choices, the same in all")

"""Texts whose words have a class each, as a configuration says where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from ..problems import Problem, TargetError
from ._few_shot import random
from ._rows import read_rows

__all__ = ["Sentence", "WordData", "WordSource", "Words"]

Share = Annotated[float, Field(gt=0, lt=1)]
PARTS = ("train", "val", "test")
CONLL = (".conll", ".bio", ".iob")


@dataclass(frozen=True)
class Sentence:
    """Words with their classes, one for each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WordData:
    """Sentences of one task, none in two parts.

    Attributes:
        name: of the task.
        train: learnt from.
        val: chooses the epoch.
        test: measured once.
        notes: what was split, in words.
    """

    name: str
    train: Sequence[Sentence]
    val: Sequence[Sentence]
    test: Sequence[Sentence]
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, Sequence[Sentence]]:
        """The three by name."""
        return {part: getattr(self, part) for part in PARTS}


class WordSource(BaseModel, ABC):
    """Settings that say where texts with a class for each word come from.

    A subclass declares `kind: Literal[...]`, its own settings, `origin` and `load`.

    Attributes:
        max_tokens: of a text, special ones included; a longer one is cut, which is noted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    max_tokens: PositiveInt = Field(default=128, ge=4)

    @property
    @abstractmethod
    def origin(self) -> str:
        """Short, for tables: `words:names.conll`."""

    @abstractmethod
    def load(self, name: str, problem: Problem, seed: int = 0, *, whole: bool = False) -> WordData:
        """The three parts; the same seed gives the same ones. `whole`: a source without parts is all `test`.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: what is there cannot be used.
        """


class Words(WordSource):
    """Files of your own, one for each part, or one that is split by the seed.

    `.conll`: a word and its class in a line, an empty line between texts. `.jsonl`, `.csv`, `.tsv`: columns `words` and
    `tags`, lists in JSON, with spaces between in a table. Equal texts stay in one part.

    Attributes:
        file: all texts, which the seed splits.
        train: the training texts, instead of `file`.
        val: the validation texts; null: a share of `train`.
        test: the test texts; null: a share of `train`.
        val_fraction: share of the training texts that becomes val, where there is no val.
        test_fraction: share of all texts that becomes test, where there is no test.
    """

    kind: Literal["words"] = "words"
    file: Path | None = None
    train: Path | None = None
    val: Path | None = None
    test: Path | None = None
    val_fraction: Share = 0.1
    test_fraction: Share = 0.2

    @model_validator(mode="after")
    def _one_layout(self) -> Words:
        parts = [key for key in PARTS if getattr(self, key)]
        if self.file and parts:
            raise ValueError(f"file is split into parts, and {', '.join(parts)} is a part; give one or the other")
        if not self.file and not self.train:
            raise ValueError("file or train is missing; give one file to split, or one for each part")
        return self

    @property
    def origin(self) -> str:
        """`words:names.conll`."""
        return f"words:{(self.file or self.train or Path()).name}"

    def load(self, name: str, problem: Problem, seed: int = 0, *, whole: bool = False) -> WordData:
        """The files as they are; parts without a file are taken out of train by the seed."""
        if self.file is not None and whole:
            return WordData(name, (), (), read_words(self.file, problem))
        files = {"train": self.file or self.train, "val": self.val, "test": self.test}
        read = {part: read_words(path, problem) for part, path in files.items() if path is not None}
        notes: list[str] = []
        for part, share in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in read:
                count = len(read["train"])
                read["train"], read[part] = _hold_out(read["train"], share, seed, part)
                notes.append(f"{part}: {len(read[part]):,} of {count:,} texts set aside, seed {seed}")
        return WordData(name, read["train"], read["val"], read["test"], tuple(notes))


def read_words(path: Path, problem: Problem) -> list[Sentence]:
    """Sentences from a file of your own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of that layout; names the line.
    """
    path = path.expanduser()
    rows = _conll(path) if path.suffix.lower() in CONLL else read_rows(path)
    found: list[Sentence] = []
    for place, row in rows:
        words = row.get("words")
        words = words.split() if isinstance(words, str) else words
        if not isinstance(words, list) or not words or not all(isinstance(one, str) and one for one in words):
            raise ValueError(f"{place}: words must be a list of words that are not empty, found {words!r:.60}")
        try:
            tags = problem.read(tuple(row.get(column) for column in problem.columns))
        except TargetError as error:
            raise ValueError(f"{place}: {error}") from None
        if len(tags) != len(words):
            raise ValueError(f"{place}: must have one class for each of {len(words)} words, found {len(tags)}")
        found.append(Sentence(tuple(words), tags))
    return found


def _conll(path: Path) -> list[tuple[str, dict[str, list[str]]]]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path.absolute()}")
    rows: list[tuple[str, dict[str, list[str]]]] = []
    open_row = False
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            open_row = False
            continue
        place, parts = f"{path}, line {number}", line.split()
        if len(parts) < 2:
            raise ValueError(f"{place}: must be a word and its class, found {line.strip()!r}")
        if not open_row:
            rows.append((place, {"words": [], "tags": []}))
            open_row = True
        rows[-1][1]["words"].append(parts[0])
        rows[-1][1]["tags"].append(parts[-1])
    if not rows:
        raise ValueError(f"{path}: has no texts")
    return rows


def _hold_out(given: Sequence[Sentence], share: float, seed: int, part: str) -> tuple[list[Sentence], list[Sentence]]:
    """What stays, and what is set aside: whole groups of equal texts."""
    texts = list(dict.fromkeys(one.words for one in given))
    count = max(1, round(share * len(texts)))
    if count >= len(texts):
        raise ValueError(f"{part}: {len(texts)} different texts are too few to set some aside; give more")
    held = {texts[n] for n in random(seed, f"hold out {part}").permutation(len(texts))[:count]}
    kept, aside = ([one for one in given if (one.words in held) == out] for out in (False, True))
    return kept, aside

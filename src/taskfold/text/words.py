"""Texts with a class for each word, and their sources in a configuration."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ..files import read_text
from ..problems import Problem, TargetError
from ._files import InFiles, LabelledTexts, Parts
from ._rows import read_rows

__all__ = ["LabelledTexts", "Parts", "Sentence", "WordSource", "Words"]

CONLL = (".conll", ".bio", ".iob")


@dataclass(frozen=True)
class Sentence:
    """Words with their classes, one for each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class WordSource(LabelledTexts, ABC):
    """The settings of a source of texts with a class for each word."""


class Words(InFiles, WordSource):
    """The user's files, one for each part, or one that is split by seed.

    `.conll`: a word and its class in a line, an empty line between texts. `.jsonl`, `.csv`, `.tsv`: columns `words` and
    `tags`, lists in JSON, separated by spaces in a table. Equal texts stay in one part.
    """

    kind: Literal["words"] = "words"

    @property
    def origin(self) -> str:
        return f"words:{self.first_name}"

    def load(self, name: str, problem: Problem, seed: int = 0, *, whole: bool = False) -> Parts[Sentence]:
        return self.texts(name, partial(read_words, problem=problem), lambda one: one.words, seed, whole=whole)


def read_words(path: Path, problem: Problem) -> list[Sentence]:
    """Sentences from a user's file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has another layout; the message has the line.
    """
    path = path.expanduser()
    rows = _conll(path) if path.suffix.lower() in CONLL else read_rows(path, CONLL)
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
    open_row, columns = False, 0
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            open_row = False
            continue
        place, parts = f"{path}, line {number}", line.split()
        columns = columns or max(len(parts), 2)
        if len(parts) != columns:
            raise ValueError(
                f"{place}: must be a word and its class, in {columns} columns like all lines, found "
                f"{line.strip()!r:.60}; take comments out"
            )
        if parts[0] == "-DOCSTART-":
            continue
        if not open_row:
            rows.append((place, {"words": [], "tags": []}))
            open_row = True
        rows[-1][1]["words"].append(parts[0])
        rows[-1][1]["tags"].append(parts[-1])
    if not rows:
        raise ValueError(f"{path}: has no texts")
    return rows

"""Whole texts with labels, numbers or levels, and their sources in a configuration."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..problems import Problem, TargetError
from ._files import InFiles, LabelledTexts, Parts
from ._rows import read_rows, text_of

__all__ = ["Document", "DocumentSource", "Documents", "LabelledTexts", "Parts"]


@dataclass(frozen=True)
class Document:
    """A text, and its label as read by the problem."""

    text: str
    label: Any


class DocumentSource(LabelledTexts, ABC):
    """The settings of a source of texts with one label each."""


class Documents(InFiles, DocumentSource):
    """The user's files, one for each part, or one that is split by seed.

    `.jsonl`, `.csv`, `.tsv`: a column `text`, and those that the problem names (`label`). Equal texts stay in one part.
    """

    kind: Literal["documents"] = "documents"

    @property
    def origin(self) -> str:
        return f"documents:{self.first_name}"

    def load(self, name: str, problem: Problem, seed: int = 0, *, whole: bool = False) -> Parts[Document]:
        read, strata = partial(read_documents, problem=problem), partial(_strata, problem)
        return self.texts(name, read, lambda one: one.text, seed, whole=whole, strata=strata)


def _strata(problem: Problem, texts: Sequence[Document]) -> list[int]:
    labels = [one.label for one in texts]
    known, names = problem.fitted(labels)
    return known.strata([known.target(label, names) for label in labels])


def read_documents(path: Path, problem: Problem) -> list[Document]:
    """Texts and labels from a user's file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has another layout; the message has the line.
    """
    found: list[Document] = []
    for place, row in read_rows(path.expanduser()):
        text = text_of(row, "text", place)
        if missing := [column for column in problem.columns if row.get(column) is None]:
            raise ValueError(f"{place}: has no {missing[0]}; the problem's columns are {', '.join(problem.columns)}")
        try:
            found.append(Document(text, problem.read(tuple(row[column] for column in problem.columns))))
        except TargetError as error:
            raise ValueError(f"{place}: {error}") from None
    return found

"""Whole texts with labels, numbers or levels, as a configuration says where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ..problems import Problem, TargetError
from ._files import PARTS, InFiles
from ._rows import read_rows, text_of

__all__ = ["Document", "DocumentData", "DocumentSource", "Documents"]


@dataclass(frozen=True)
class Document:
    """A text, and its label as the problem reads it."""

    text: str
    label: Any


@dataclass(frozen=True, eq=False)
class DocumentData:
    """Texts of one task, none in two parts.

    Attributes:
        name: of the task.
        train: learnt from.
        val: chooses the epoch.
        test: measured once.
        notes: what was split, in words.
    """

    name: str
    train: Sequence[Document]
    val: Sequence[Document]
    test: Sequence[Document]
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, Sequence[Document]]:
        """The three by name."""
        return {part: getattr(self, part) for part in PARTS}


class DocumentSource(BaseModel, ABC):
    """Settings that say where texts with labels come from.

    A subclass declares `kind: Literal[...]`, its own settings, `origin` and `load`.

    Attributes:
        max_tokens: of a text, special ones included; a longer one is cut, which is noted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    max_tokens: PositiveInt = Field(default=128, ge=4)

    @property
    @abstractmethod
    def origin(self) -> str:
        """Short, for tables: `documents:reviews.csv`."""

    @abstractmethod
    def load(self, name: str, problem: Problem, seed: int = 0, *, whole: bool = False) -> DocumentData:
        """The three parts; the same seed gives the same ones. `whole`: a source without parts is all `test`.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: what is there cannot be used.
        """


class Documents(InFiles, DocumentSource):
    """Files of your own, one for each part, or one that is split by the seed.

    `.jsonl`, `.csv`, `.tsv`: a column `text`, and those that the problem names (`label`). Equal texts stay in one part.
    """

    kind: Literal["documents"] = "documents"

    @property
    def origin(self) -> str:
        """`documents:reviews.csv`."""
        return f"documents:{self.first_name}"

    def load(self, name: str, problem: Problem, seed: int = 0, *, whole: bool = False) -> DocumentData:
        """The files as they are; parts without a file are taken out of train by the seed."""
        if self.file is not None and whole:
            return DocumentData(name, (), (), read_documents(self.file, problem))
        read = self.read_parts(partial(read_documents, problem=problem))
        parts, notes = self.split(read, lambda one: one.text, seed, "texts", "texts")
        return DocumentData(name, parts["train"], parts["val"], parts["test"], notes)


def read_documents(path: Path, problem: Problem) -> list[Document]:
    """Texts and labels from a file of your own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of that layout; names the line.
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

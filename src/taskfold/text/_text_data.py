"""What a configured source of texts gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ._example import Example

Metric = Literal["exact-match", "rank"]


@dataclass(frozen=True, eq=False)
class TextData:
    """Examples of one text task, no input in two parts.

    Attributes:
        name: of the task.
        train: learnt from.
        val: chooses the epoch.
        test: measured once.
        notes: what was split or left out, in words.
        open: the answers can be written, not only chosen among.
        prompt: what an input of a user's is put into; `{text}` stands for it.
    """

    name: str
    train: Sequence[Example]
    val: Sequence[Example]
    test: Sequence[Example]
    notes: tuple[str, ...] = ()
    open: bool = True
    prompt: str = "{text}"

    @property
    def choices(self) -> tuple[str, ...]:
        """The answers to choose among, if all examples have the same; else none."""
        found = {example.choices for part in (self.train, self.val, self.test) for example in part}
        return found.pop() if len(found) == 1 else ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What can be measured on test data, and tells something."""
        ranked = all(example.choices for example in self.test)
        written: tuple[Metric, ...] = ("exact-match",) if self.open or not ranked else ()
        return (*written, *(("rank",) if ranked else ()))


class TextSource(BaseModel, ABC):
    """Settings that say where a text task's examples come from.

    A subclass declares `kind: Literal[...]`, its own settings, `origin` and `load`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    @property
    @abstractmethod
    def origin(self) -> str:
        """Short, for tables: `examples:mail.csv`."""

    @abstractmethod
    def load(self, name: str, seed: int = 0) -> TextData:
        """The three parts; the same seed gives the same ones.

        Raises:
            FileNotFoundError, ImportError: a file, folder or package is not there.
            ValueError: what is there cannot be used, or is less than was asked for.
        """

    def measured(self, name: str) -> TextData:
        """What a finished task is measured on, as `test`."""
        return self.load(name)

"""The data of a configured source of texts."""

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
    """The examples of a text task; no input is in two parts.

    Attributes:
        name: the task's name.
        train: the training examples.
        val: the validation examples, which select the epoch.
        test: the test examples, measured once.
        notes: remarks on splits and left-out examples.
        open: the answers can be generated, not only chosen.
        prompt: the prompt of a user's input, with `{text}` for the input.
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
        """The metrics that are meaningful on the test data."""
        ranked = all(example.choices for example in self.test)
        written: tuple[Metric, ...] = ("exact-match",) if self.open or not ranked else ()
        return (*written, *(("rank",) if ranked else ()))


class TextSource(BaseModel, ABC):
    """The settings of a source of a text task's examples.

    A subclass declares `kind: Literal[...]`, its own settings, `origin` and `load`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    @property
    @abstractmethod
    def origin(self) -> str:
        """A short name for tables: `examples:mail.csv`."""

    @abstractmethod
    def load(self, name: str, seed: int = 0) -> TextData:
        """The three parts, by seed.

        Raises:
            FileNotFoundError, ImportError: a file, folder or package is missing.
            ValueError: the data cannot be used, or are fewer than the settings need.
        """

    def measured(self, name: str) -> TextData:
        """The data that a finished task is measured on, as `test`."""
        return self.load(name)

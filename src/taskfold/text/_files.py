"""Texts with labels in the user's files: one for each part, or one that is split by seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from ..problems import Problem
from ._few_shot import random

T = TypeVar("T")
Strata = Callable[[Sequence[T]], Sequence[int]]
Share = Annotated[float, Field(gt=0, lt=1)]
PARTS = ("train", "val", "test")
SHORT = 40
"""Characters of a text in a note."""


@dataclass(frozen=True, eq=False)
class Parts(Generic[T]):
    """The texts of a task; no text is in two parts.

    Attributes:
        name: the task's name.
        train: the training texts.
        val: the validation texts, which select the epoch.
        test: the test texts, measured once.
        notes: remarks on splits.
    """

    name: str
    train: Sequence[T]
    val: Sequence[T]
    test: Sequence[T]
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, Sequence[T]]:
        return {part: getattr(self, part) for part in PARTS}


class LabelledTexts(BaseModel, ABC):
    """The settings of a source of texts with labels, one for each text or word.

    A subclass declares `kind: Literal[...]`, its own settings, `origin` and `load`.

    Attributes:
        max_tokens: the most tokens of a text, special ones included; longer texts are cut, with a note.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    max_tokens: PositiveInt = Field(default=128, ge=4)

    @property
    @abstractmethod
    def origin(self) -> str:
        """A short name for tables: `words:names.conll`."""

    @abstractmethod
    def load(self, name: str, problem: Problem, seed: int = 0, *, whole: bool = False) -> Parts[Any]:
        """The three parts, by seed. `whole`: all texts of a source without parts are `test`.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: its content cannot be used.
        """


class InFiles(BaseModel):
    """The settings that name files.

    Attributes:
        file: all texts, which are split by seed.
        train: the training texts, instead of `file`.
        val: the validation texts, which select the epoch; null: a share of `train`.
        test: the test texts; null: a share of `train`.
        val_fraction: the share of the training texts that becomes val, without `val`.
        test_fraction: the share of all texts that becomes test, without `test`.
    """

    file: Path | None = None
    train: Path | None = None
    val: Path | None = None
    test: Path | None = None
    val_fraction: Share = 0.1
    test_fraction: Share = 0.2

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        parts = [key for key in PARTS if getattr(self, key)]
        if self.file and parts:
            raise ValueError(f"file is split into parts, and {', '.join(parts)} is a part; give one or the other")
        if not self.file and not self.train:
            raise ValueError("file or train is missing; give one file to split, or one for each part")
        return self

    @property
    def first_name(self) -> str:
        """The name of `file` or `train`, for tables."""
        return (self.file or self.train or Path()).name

    def read_parts(self, read: Callable[[Path], list[T]]) -> dict[str, list[T]]:
        """The content of the files, by part; a single file is `train`."""
        if self.file is not None:
            return {"train": read(self.file)}
        return {part: read(path) for part in PARTS if (path := getattr(self, part))}

    def texts(
        self,
        name: str,
        read: Callable[[Path], list[T]],
        key: Callable[[T], Hashable],
        seed: int,
        *,
        whole: bool,
        strata: Strata[T] | None = None,
    ) -> Parts[T]:
        """The texts of a task, as in `LabelledTexts.load`; `read` as for `read_parts`, `key` as for `split`."""
        if self.file is not None and whole:
            return Parts(name, (), (), read(self.file))
        parts, notes = self.split(self.read_parts(read), key, seed, "texts", "texts", strata)
        first = dict[Hashable, T]()
        every = [one for part in parts.values() for one in part]
        if odd := dict.fromkeys(key(one) for one in every if first.setdefault(key(one), one) != one):
            notes = (*notes, f"{len(odd)} texts are there with different labels: {_few(odd)}; keep the right one")
        return Parts(name, parts["train"], parts["val"], parts["test"], notes)

    def split(
        self,
        read: Mapping[str, list[T]],
        key: Callable[[T], Hashable],
        seed: int,
        unit: str,
        alike: str,
        strata: Strata[T] | None = None,
    ) -> tuple[dict[str, list[T]], tuple[str, ...]]:
        """The three parts; those without a file are taken out of `train`, with a note on the number.

        Args:
            read: the result of `read_parts`.
            key: equal for items that must stay in one part.
            seed: the split's seed.
            unit, alike: names of items and of keys, in the plural, for messages.
            strata: items → classes, of which each part gets its share; None: all items are alike.

        Raises:
            ValueError: there are too few different keys.
        """
        found, notes = dict(read), list[str]()
        for part, share in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in found:
                whole = len(found["train"])
                found["train"], found[part] = _hold_out(found["train"], key, strata, share, seed, part, alike)
                by = ", by class" if strata else ""
                notes.append(f"{part}: {len(found[part]):,} of {whole:,} {unit} set aside{by}, seed {seed}")
        keys = {part: dict.fromkeys(map(key, texts)) for part, texts in found.items()}
        for one, other in combinations(keys, 2):
            if common := [text for text in keys[one] if text in keys[other]]:
                notes.append(
                    f"{len(common)} {alike} are in {one} and in {other}: {_few(common)}; what is measured there was "
                    "learnt here: take them out of one"
                )
        return found, tuple(notes)


def _few(keys: Iterable[Hashable]) -> str:
    """A few of many texts, or lists of words, shortened."""
    found = [repr(" ".join(key) if isinstance(key, tuple) else key) for key in keys]
    return ", ".join(one if len(one) <= SHORT else f"{one[:SHORT]}…" for one in found[:3]) + ", …" * (len(found) > 3)


def _hold_out(
    given: Sequence[T],
    key: Callable[[T], Hashable],
    strata: Strata[T] | None,
    share: float,
    seed: int,
    part: str,
    alike: str,
) -> tuple[list[T], list[T]]:
    """Splits off whole groups of equal keys, a share of every stratum: the rest, and the held-out items."""
    every: dict[int, list[Hashable]] = {}
    classes = strata(given) if strata else [0] * len(given)
    for one, stratum in {key(one): n for one, n in zip(given, classes, strict=True)}.items():
        every.setdefault(stratum, []).append(one)
    chance, held = random(seed, f"hold out {part}"), set[Hashable]()
    for _, keys in sorted(every.items()):
        count = min(max(1, round(share * len(keys))), len(keys) - 1)
        held |= {keys[n] for n in chance.permutation(len(keys))[:count]}
    kept, aside = ([one for one in given if (key(one) in held) == out] for out in (False, True))
    if not (kept and aside):
        count = sum(map(len, every.values()))
        of = f" of {len(every)} classes" if len(every) > 1 else ""
        raise ValueError(f"{part}: {count} different {alike}{of} are too few to set some aside; give more")
    return kept, aside

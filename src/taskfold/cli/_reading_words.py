"""How saved tasks read texts that a server is sent, and say what these or their words are: as `predict` does."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .. import Bank, MultiTask
from ..problems import Problem
from ..serve import Asked, Form, InputError, Ready
from ._tokens import Tokenizer, Tokens, words_out


@dataclass(frozen=True)
class Tagged:
    """Texts whose words get classes; all have one tokenizer, and share a pass whatever their length."""

    tokens: Tokenizer = field(compare=False)

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Tokens]) -> Sequence[Tensor]:
        """What tasks put out for the words of each text."""
        device = next(network.backbone.parameters(), torch.zeros(())).device
        return words_out(network(**self.tokens.collate(values).to(device).inputs, task=keys), values)


@dataclass(frozen=True)
class WordReading:
    """A class for every word of a text; words stand between spaces."""

    task: str
    problem: Problem
    labels: tuple[str, ...]
    tokens: Tokenizer
    takes: Form = "text"
    shape: None = None

    @property
    def way(self) -> Hashable:
        """How long a text may be."""
        return "words", self.tokens.max_tokens

    def ready(self, content: str, asked: Asked) -> Ready:
        """Tokens."""
        asked.refuse_choices(self.task)
        words = content.split()
        inputs, owners = self.tokens(words)
        if cut := self.tokens.cut(words, owners):
            raise InputError(f"task {self.task!r}: {cut}")
        return Ready(Tagged(self.tokens), (inputs, owners), words)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        """The words and their classes."""
        return {"words": ready.about, **self.problem.answer(output, self.labels, asked.top)}


@dataclass(frozen=True)
class Whole:
    """Texts that get one answer each; all have one tokenizer, and share a pass whatever their length."""

    tokens: Tokenizer = field(compare=False)

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[dict[str, Tensor]]) -> Sequence[Tensor]:
        """What tasks put out for each text."""
        device = next(network.backbone.parameters(), torch.zeros(())).device
        inputs = {key: held.to(device) for key, held in self.tokens.padded(values).items()}
        return [output.float().cpu() for output in network(**inputs, task=keys)]


@dataclass(frozen=True)
class DocumentReading(WordReading):
    """A class, numbers, labels, or a level for a whole text."""

    @property
    def way(self) -> Hashable:
        """How long a text may be."""
        return "documents", self.tokens.max_tokens

    def ready(self, content: str, asked: Asked) -> Ready:
        """Tokens."""
        asked.refuse_choices(self.task)
        if long := self.tokens.long(content):
            raise InputError(f"task {self.task!r}: {long}")
        return Ready(Whole(self.tokens), self.tokens.text(content))

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        """As the problem words it."""
        del ready
        return self.problem.answer(output, self.labels, asked.top)

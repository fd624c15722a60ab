"""A server's reading of texts, and its answers for words or whole texts, as in `taskfold predict`."""

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
class Texts:
    """Texts of any length, which share a pass and a tokenizer."""

    tokens: Tokenizer = field(compare=False)

    def outputs(self, network: Bank | MultiTask, keys: list[str], texts: Sequence[dict[str, Tensor]]) -> Any:
        """Outputs of tasks for tokenized texts."""
        device = next(network.backbone.parameters(), torch.zeros(())).device
        return network(**{key: one.to(device) for key, one in self.tokens.padded(texts).items()}, task=keys)


class Tagged(Texts):
    """Texts whose words get classes."""

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Tokens]) -> Sequence[Tensor]:
        return words_out(self.outputs(network, keys, [one for one, _ in values]), values)


class Whole(Texts):
    """Texts with one answer each."""

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[dict[str, Tensor]]) -> Sequence[Tensor]:
        return [output.float().cpu() for output in self.outputs(network, keys, values)]


@dataclass(frozen=True)
class WordReading:
    """A class for every word of a text; spaces separate words."""

    problem: Problem
    labels: tuple[str, ...]
    tokens: Tokenizer
    takes: Form = "text"
    shape: None = None

    @property
    def way(self) -> Hashable:
        return "words", self.tokens.max_tokens

    def ready(self, content: str, asked: Asked) -> Ready:
        asked.refuse_choices()
        words = content.split()
        inputs, owners = self.tokens(words)
        if cut := self.tokens.cut(words, owners):
            raise InputError(cut)
        return Ready(Tagged(self.tokens), (inputs, owners), words)

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        return {"words": ready.about, **self.problem.answer(output, self.labels, asked.top)}


@dataclass(frozen=True)
class DocumentReading(WordReading):
    """A class, numbers, labels, or a level for a whole text."""

    @property
    def way(self) -> Hashable:
        return "documents", self.tokens.max_tokens

    def ready(self, content: str, asked: Asked) -> Ready:
        asked.refuse_choices()
        if long := self.tokens.long(content):
            raise InputError(long)
        return Ready(Whole(self.tokens), self.tokens.text(content))

    def said(self, output: Tensor, ready: Ready, asked: Asked) -> dict[str, Any]:
        del ready
        return self.problem.answer(output, self.labels, asked.top)

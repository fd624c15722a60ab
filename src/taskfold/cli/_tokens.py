"""Words of texts as tokens, and the word of each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import Task
from ..backbones import LoadedBackbone
from ..problems import IGNORED
from ..train import Labelled
from ._output import UserError
from ._reader import made

KEYS = ("input_ids", "attention_mask")
"""The tokenizer's outputs that networks are called with."""
Tokens = tuple[dict[str, Tensor], Tensor]
"""`input_ids` and `attention_mask`, `[T]` each; the target of each token, or the mark of no target."""


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of words, of which the first token of each word has its target.

    Attributes:
        tokenizer: a fast tokenizer of Hugging Face.
        max_tokens: the limit of a text.
    """

    tokenizer: Any
    max_tokens: int

    @classmethod
    def of(cls, loaded: LoadedBackbone, max_tokens: int) -> Self:
        """For a backbone."""
        tokenizer = None if loaded.tokenizer is None else made(loaded.tokenizer)
        if not getattr(tokenizer, "is_fast", False):
            raise UserError(
                f"{loaded.name} has no fast tokenizer that is known of; tasks of words need an encoder with one, such "
                "as packaged:minilm or hf:NAME, with tokenizer.json"
            )
        return cls(tokenizer, max_tokens)

    @classmethod
    def of_task(cls, task: Task, loaded: LoadedBackbone) -> Self:
        """For a saved task, with the settings of its training."""
        longest = task.info.preprocessing.get("max_tokens")
        if not isinstance(longest, int):
            raise UserError(f"task {task.name!r} does not say how long its texts may be; it was saved by hand")
        return cls.of(loaded, longest)

    @torch.no_grad()
    def check(self, loaded: LoadedBackbone) -> None:
        """The network runs a text of full length, which is tried where it may have fewer positions."""
        positions = getattr(getattr(loaded.network, "config", None), "max_position_embeddings", self.max_tokens)
        if self.max_tokens <= min(positions, self.tokenizer.model_max_length):
            return
        ids = torch.zeros(1, self.max_tokens, dtype=torch.long, device=next(loaded.network.parameters()).device)
        try:
            loaded.network(**dict(zip(KEYS, (ids, torch.ones_like(ids)), strict=True)))
        except (RuntimeError, IndexError) as error:
            raise UserError(
                f"max_tokens={self.max_tokens} is more than {loaded.name} runs, whose max_position_embeddings is "
                f"{positions}: lower it in source ({error})"
            ) from None

    def __call__(self, words: Sequence[str], targets: Sequence[int] | None = None) -> Tokens:
        """One text; without targets the first token of each word has the word's number instead."""
        made = self.tokenizer(list(words), is_split_into_words=True, truncation=True, max_length=self.max_tokens)
        owners: list[int | None] = made.word_ids()
        numbers = range(len(words)) if targets is None else targets
        each = [IGNORED if owner is None or owner in owners[:n] else numbers[owner] for n, owner in enumerate(owners)]
        inputs = {key: torch.tensor(made[key]) for key in KEYS}
        return inputs, torch.tensor(each)

    def count(self, text: str) -> int:
        """The number of tokens of a whole, uncut text."""
        return len(self.tokenizer(text)["input_ids"])

    def text(self, text: str) -> dict[str, Tensor]:
        """A whole text, as tokens."""
        made = self.tokenizer(text, truncation=True, max_length=self.max_tokens)
        return {key: torch.tensor(made[key]) for key in KEYS}

    def padded(self, texts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Texts as a batch, `[B, T]` each."""
        values = dict(zip(KEYS, (self.tokenizer.pad_token_id or 0, 0), strict=True))
        return {
            key: pad_sequence([one[key] for one in texts], batch_first=True, padding_value=value)
            for key, value in values.items()
        }

    def collate(self, samples: Sequence[Tokens]) -> Labelled:
        inputs = self.padded([one for one, _ in samples])
        targets = pad_sequence([target for _, target in samples], batch_first=True, padding_value=IGNORED)
        return Labelled(inputs, targets, targets)

    def long(self, text: str) -> str:
        """Why a whole text is too long; empty: it is not."""
        if (count := self.count(text)) <= self.max_tokens:
            return ""
        return f"{count} tokens, more than {self.max_tokens}: give shorter texts"

    def cut(self, words: Sequence[str], owners: Tensor) -> str:
        """Which words of a text are cut off; empty: none."""
        if (seen := int((owners != IGNORED).sum())) == len(words):
            return ""
        return f"only {seen} of {len(words)} words are within {self.max_tokens} tokens: give shorter texts"


def words_out(outputs: Sequence[Tensor], samples: Sequence[Tokens]) -> list[Tensor]:
    """The outputs `[words, classes]` of words from those of tokens, `[tokens, classes]` per text, on the CPU."""
    return [
        made.float().cpu()[: len(owners)][owners != IGNORED] for made, (_, owners) in zip(outputs, samples, strict=True)
    ]

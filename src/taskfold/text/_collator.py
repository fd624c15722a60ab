"""A collator of examples into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from ._batch import IGNORED, TextBatch
from ._example import Example
from ._tokens import Tokenizer, frame, lengths_mask, padded, token_ids

Cut = Literal["end", "start"]


@dataclass(frozen=True)
class Collator:
    """Examples to a batch of rows, one per answer choice; fit for a `DataLoader`'s `collate_fn`.

    Every target ends with the tokenizer's end token, which is scored and which truncation keeps. Long texts are
    cut: a target at its end, an input at the end that `cut` names. Rows are padded to the longest of the batch,
    rounded up to a multiple of `pad_to_multiple_of`.

    Args:
        tokenizer: of transformers, or an object with the same interface.
        causal: the network is decoder-only: it reads input and target as one text. Otherwise encoder-decoder.
        max_input: the most tokens of an input, special ones included.
        max_target: the most tokens of a target, its end token included.
        with_choices: one row per choice; otherwise only the true target.
        start_token: the first id of an encoder-decoder's decoder; None: the padding token's, as in T5.
        cut: the end at which long inputs are cut; `start` keeps a question that comes last.
        separator: text between input and target of a decoder-only network, part of the target; not scored apart.
        pad_to_multiple_of: lengths of batches are multiples of it, ≥ 1. With 8 or more there are fewer forms;
            each form costs a compiler's trace and, in a mixed batch, a look at its rows.

    Raises:
        ValueError: a length is too small, `cut` is unknown, or the tokenizer lacks an end or padding token.

    Example:
        >>> class Bytes:
        ...     eos_token_id, pad_token_id = 256, 257
        ...     def __call__(self, texts, add_special_tokens=True):
        ...         end = [256] if add_special_tokens else []
        ...         return {"input_ids": [[*text.encode(), *end] for text in texts]}
        >>> batch = Collator(Bytes(), causal=False)([Example("2 + 2 =", "4", ("3", "4"))])
        >>> batch.labels.tolist(), batch.correct.tolist()
        ([[52, 256], [51, 256]], [True, False])
    """

    tokenizer: Tokenizer
    causal: bool = field(kw_only=True)
    max_input: int = field(default=256, kw_only=True)
    max_target: int = field(default=256, kw_only=True)
    with_choices: bool = field(default=True, kw_only=True)
    start_token: int | None = field(default=None, kw_only=True)
    cut: Cut = field(default="end", kw_only=True)
    separator: str = field(default=" ", kw_only=True)
    pad_to_multiple_of: int = field(default=1, kw_only=True)
    before: tuple[int, ...] = field(init=False, repr=False)
    after: tuple[int, ...] = field(init=False, repr=False)
    pad: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        if end is None:
            raise ValueError("tokenizer must have an end token, found eos_token_id=None; set tokenizer.eos_token")
        if pad is None and not self.causal:
            raise ValueError("tokenizer must have a padding token, found pad_token_id=None; set tokenizer.pad_token")
        if self.cut not in get_args(Cut):
            raise ValueError(f"cut must be one of {', '.join(get_args(Cut))}, found {self.cut!r}")
        before, after = frame(self.tokenizer)
        after = [] if self.causal else after  # the target follows
        if self.max_input <= len(before) + len(after):
            raise ValueError(
                f"max_input must leave room beside the {len(before) + len(after)} special tokens, "
                f"found {self.max_input}"
            )
        if self.pad_to_multiple_of < 1:
            raise ValueError(f"pad_to_multiple_of must be at least 1, found {self.pad_to_multiple_of}")
        if self.max_target < 2:
            raise ValueError(f"max_target must be at least 2, one token and the end, found {self.max_target}")
        object.__setattr__(self, "before", tuple(before))
        object.__setattr__(self, "after", tuple(after))
        object.__setattr__(self, "pad", end if pad is None else pad)  # padding is masked, so any id will do
        if self.start_token is None and not self.causal:
            object.__setattr__(self, "start_token", pad)

    def __call__(self, examples: Sequence[Example]) -> TextBatch:
        """A batch for training or scoring.

        Raises:
            ValueError: there are no examples, or a decoder-only network would have no token before a target.
        """
        sources = self._inputs(examples)
        answers = [self.answers(example) for example in examples]
        counts = tuple(map(len, answers))
        example = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        targets = self._targets([text for texts in answers for text in texts])
        rows = [sources[n] for n in example.tolist()]
        inputs, labels = self._joined(rows, targets) if self.causal else self._apart(rows, targets)
        correct = torch.cat([torch.arange(count) == 0 for count in counts])
        return TextBatch(inputs, self._padded(labels, IGNORED), example, correct, counts)

    def answers(self, example: Example) -> tuple[str, ...]:
        """The answers in an example's rows: the true target, then the wrong choices in order."""
        wrong = example.choices if self.with_choices else ()
        return (example.target, *(choice for choice in wrong if choice != example.target))

    def for_generation(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Inputs only, one row per example; padded on the left for a decoder-only network, which continues them.

        Raises:
            ValueError: there are no examples, or a decoder-only network would have no token to continue.
        """
        rows = self._inputs(examples)
        return {
            "input_ids": self._padded(rows, self.pad, left=self.causal),
            "attention_mask": self._mask(rows, left=self.causal),
        }

    def _padded(self, rows: Sequence[Sequence[int]], filler: int, *, left: bool = False) -> Tensor:
        return padded(rows, filler, left=left, multiple=self.pad_to_multiple_of)

    def _mask(self, rows: Sequence[Sequence[int]], *, left: bool = False) -> Tensor:
        return lengths_mask(rows, left=left, multiple=self.pad_to_multiple_of)

    def _inputs(self, examples: Sequence[Example]) -> list[list[int]]:
        if not examples:
            raise ValueError("examples must not be empty; leave empty batches out")
        room = self.max_input - len(self.before) - len(self.after)
        found = token_ids(self.tokenizer, [example.input for example in examples])
        kept = [ids[:room] if self.cut == "end" else ids[-room:] for ids in found]
        rows = [[*self.before, *ids, *self.after] for ids in kept]
        if self.causal and not all(rows):
            raise ValueError("input must not be empty for a decoder-only network without a start token, found ''")
        return rows

    def _targets(self, texts: Sequence[str]) -> list[list[int]]:
        texts = [self.separator + text for text in texts] if self.causal else texts
        return [[*ids[: self.max_target - 1], self.tokenizer.eos_token_id] for ids in token_ids(self.tokenizer, texts)]

    def _apart(self, inputs: list[list[int]], targets: list[list[int]]) -> tuple[dict[str, Tensor], list[list[int]]]:
        assert self.start_token is not None
        decoded = [[self.start_token, *target[:-1]] for target in targets]  # causal: padding behind needs no mask
        named = {
            "input_ids": self._padded(inputs, self.pad),
            "attention_mask": self._mask(inputs),
            "decoder_input_ids": self._padded(decoded, self.pad),
        }
        return named, targets

    def _joined(self, inputs: list[list[int]], targets: list[list[int]]) -> tuple[dict[str, Tensor], list[list[int]]]:
        read = [[*source, *target[:-1]] for source, target in zip(inputs, targets, strict=True)]
        scored = [[IGNORED] * (len(source) - 1) + target for source, target in zip(inputs, targets, strict=True)]
        return {"input_ids": self._padded(read, self.pad), "attention_mask": self._mask(read)}, scored

"""Texts to token ids, and ids to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Tokenizer = Any
"""Called as `tokenizer(texts, add_special_tokens=False)["input_ids"]`; has `eos_token_id`, `pad_token_id` and
`batch_decode`. Those of transformers are, and so may be one of your own."""


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text, without special tokens. Equal texts are looked at once."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return []
    found = dict(zip(distinct, tokenizer(distinct, add_special_tokens=False)["input_ids"], strict=True))
    return [list(found[text]) for text in texts]


def frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text."""
    bare, framed = token_ids(tokenizer, ["a"])[0], list(tokenizer(["a"])["input_ids"][0])
    for at in range(len(framed) - len(bare) + 1):
        if framed[at : at + len(bare)] == bare:
            return framed[:at], framed[at + len(bare) :]
    raise ValueError(
        f"tokenizer must keep a text's tokens when it adds special ones, found {bare} and {framed} for 'a'; "
        "use another tokenizer of the same vocabulary"
    )


def padded(rows: Sequence[Sequence[int]], filler: int, *, left: bool = False, multiple: int = 1) -> Tensor:
    """`[rows, longest]`, filled up on the right, or on the left; the longest is rounded up to a multiple."""
    longest = max(map(len, rows), default=0)
    tensor = torch.full((len(rows), longest + -longest % multiple), filler, dtype=torch.long)
    for n, row in enumerate(rows):
        if row:
            tensor[n, -len(row) if left else 0 : None if left else len(row)] = torch.tensor(row)
    return tensor


def lengths_mask(rows: Sequence[Sequence[int]], *, left: bool = False, multiple: int = 1) -> Tensor:
    """The attention mask that goes with `padded`: 1 on tokens, 0 on padding."""
    return padded([[1] * len(row) for row in rows], 0, left=left, multiple=multiple)

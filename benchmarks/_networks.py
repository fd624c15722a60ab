"""The networks that are timed: T5 from its configuration, random weights, a byte vocabulary.

The small vocabulary makes the comparison harder: a large output layer costs every method the same and would hide what
they add.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

VOCABULARY = 384
TASKS = 8


@dataclass(frozen=True)
class Size:
    d_model: int
    d_ff: int
    blocks: int
    heads: int


SIZES = {
    "t5-small": Size(512, 2048, 6, 8),
    "t5-d256": Size(256, 1024, 4, 4),
}


@dataclass(frozen=True)
class Load:
    """A batch: `rows` × `tokens` in, a quarter as many tokens out; all of one task, or of 8, grouped or shuffled."""

    rows: int
    tokens: int
    tasks: str

    def __str__(self) -> str:
        return f"{self.rows}x{self.tokens} {self.tasks}"

    def inputs(self) -> dict[str, Tensor]:
        dice = torch.Generator().manual_seed(1)
        here = torch.randint(3, VOCABULARY, (self.rows, self.tokens), generator=dice)
        there = torch.randint(3, VOCABULARY, (self.rows, self.tokens // 4), generator=dice)
        return {"input_ids": here, "attention_mask": torch.ones_like(here), "labels": there}

    def task_of_row(self) -> list[int]:
        if self.tasks == "one task":
            return [0] * self.rows
        grouped = [row * TASKS // self.rows for row in range(self.rows)]
        if self.tasks == "grouped":
            return grouped
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(2)).tolist()
        return [grouped[n] for n in order]


def network(size: Size) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=size.d_model,
        d_kv=size.d_model // size.heads,
        d_ff=size.d_ff,
        num_layers=size.blocks,
        num_heads=size.heads,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    made = T5ForConditionalGeneration(config)
    made.config.use_cache = False
    return made.requires_grad_(False)

"""Tiny networks of both kinds, with random weights, and examples for them."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from transformers import ByT5Tokenizer, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from taskfold import LoRA, MultiTask
from taskfold.text import Collator, Example

VOCABULARY = 259
KINDS = ("encoder-decoder", "decoder-only")
EXAMPLES = [
    Example("is water wet?", "yes", ("yes", "no")),
    Example("two and two", "four"),
    Example("the capital of the country to the north of Spain", "Paris", ("Madrid", "Rome", "Paris")),
    Example("a", "no, never", ("yes", "no, never")),
]
TASKS = ["a", "b", "b", "a"]


@cache
def tokenizer() -> ByT5Tokenizer:
    return ByT5Tokenizer(extra_ids=0)


class Numbers(ByT5Tokenizer):
    """Decodes to token ids, which tells texts of bytes that are no UTF-8 apart."""

    def batch_decode(self, sequences: torch.Tensor, **_: object) -> list[str]:
        return [" ".join(str(token) for token in row if token != 0) for row in sequences.tolist()]


def collator(kind: str, **settings: object) -> Collator:
    return Collator(tokenizer(), causal=kind == "decoder-only", **settings)  # type: ignore[arg-type]


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "decoder-only":
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=256,
                initializer_range=0.2,
                bos_token_id=None,
                eos_token_id=1,
                pad_token_id=0,
            )
        )
    made = T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY,
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=1,  # blocks that pass tables on to blocks: tests/device/test_generate.py
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            tie_word_embeddings=False,
            eos_token_id=1,
            pad_token_id=0,
            decoder_start_token_id=0,
        )
    )
    for module in made.modules():  # its own initialisation writes one token again and again, whatever it reads
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.4)
    return made


def model(kind: str) -> MultiTask:
    """Two tasks, so different from each other that they write different texts."""
    made = MultiTask(network(kind), LoRA(rank=2, layers="linear", targets=("*", "!lm_head"), init="normal"))
    for name in ("a", "b"):
        task = made.add_task(name)
        with torch.no_grad():
            for parameter in task.parameters():
                parameter.mul_(3)
    return made.eval()


@cache
def shared(kind: str, dtype: torch.dtype = torch.float32) -> MultiTask:
    """`model` for tests that leave it as it is: batches of one form are looked at once for all of them."""
    return model(kind).to(dtype)

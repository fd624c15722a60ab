"""Tiny random networks, and adapters of PEFT's with random numbers on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)


class Convolutional(nn.Module):
    """Convolutions with strides and padding, BatchNorm, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.points = nn.Conv2d(12, 12, 1)
        self.fc = nn.Linear(12, 5)
        nn.init.normal_(self.bn.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        return self.fc(self.points(self.body(x).relu()).mean((2, 3)))


def bert() -> nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return BertForSequenceClassification(
        BertConfig(vocab_size=40, num_labels=3, max_position_embeddings=32, initializer_range=0.3, **sizes)
    )


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    )


def llama() -> nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, intermediate_size=24, max_position_embeddings=32, **sizes))


def t5() -> nn.Module:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(vocab_size=40, decoder_start_token_id=0, **sizes))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "bert": bert,
    "gpt2": gpt2,
    "llama": llama,
    "t5": t5,
    "convolutional": Convolutional,
}


def inputs(name: str, rows: int = 3) -> dict[str, Tensor]:
    """A batch for a network."""
    if name == "convolutional":
        return {"x": torch.randn(rows, 3, 9, 9)}
    ids = torch.randint(2, 40, (rows, 7))
    return {"input_ids": ids, **({"decoder_input_ids": ids[:, :4]} if name == "t5" else {})}


def answer(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits


def built(name: str) -> nn.Module:
    """The same network each time."""
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def adapter(name: str, config: Any, folder: Path, seed: int = 1) -> nn.Module:
    """PEFT's model with random numbers in all that it trains, saved to a folder."""
    model = peft.get_peft_model(built(name), config).eval()
    torch.manual_seed(seed)
    for key, tensor in model.named_parameters():
        if tensor.requires_grad:
            nn.init.normal_(tensor, 1.0 if "ia3" in key or "magnitude" in key else 0.0, 0.2)
    for key, tensor in model.named_buffers():
        if "modules_to_save" in key and tensor.is_floating_point():
            tensor.normal_().abs_()
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return model

"""The outputs of the package `adapters` with weights from a formula; it writes `adapters_oracle.json`.

It needs an older transformers than the suite, so that its numbers are kept:

    python -m venv oracle && oracle/bin/pip install adapters==1.3.0 torch
    oracle/bin/python tests/methods/adapters_oracle.py
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, T5Config, T5Model

NUMBERS = Path(__file__).with_suffix(".json")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "houlsby": ("DoubleSeqBnConfig", {"reduction_factor": 4, "cross_adapter": True, "scaling": 0.5}),
    "feed-forward": ("SeqBnConfig", {"reduction_factor": 2, "original_ln_before": False}),
    "compacter": ("CompacterConfig", {"reduction_factor": 2, "phm_dim": 2}),
    "compacter, own": ("CompacterConfig", {"reduction_factor": 2, "phm_dim": 2, "shared_phm_rule": False}),
    "compacter++": (
        "CompacterPlusPlusConfig",
        {"reduction_factor": 1, "phm_dim": 4, "phm_rank": 2, "original_ln_before": False},
    ),
}
"""A configuration of `adapters`, and its settings."""


def t5() -> nn.Module:
    sizes: dict[str, Any] = {"d_model": 8, "d_ff": 12, "d_kv": 3, "num_layers": 1, "num_heads": 2, "vocab_size": 11}
    return T5Model(T5Config(**sizes, dropout_rate=0.0))


def bert() -> nn.Module:
    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "vocab_size": 11}
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertModel(BertConfig(**sizes, **off, num_attention_heads=2, max_position_embeddings=8))


NETWORKS = {"t5": t5, "bert": bert}


def output_of(network: str, run: Any, **settings: Any) -> Tensor:
    """Of two texts, one number for each position."""
    words = torch.arange(10).reshape(2, 5) * 3 % 11
    given = {"decoder_input_ids": words[:, 1:]} if network == "t5" else {}
    return summed(run(input_ids=words, **given, **settings).last_hidden_state)


def numbers(name: str, like: Tensor) -> Tensor:
    """From -1 to 1, by a tensor's name and size alone."""
    start = zlib.crc32(name.encode()) % 997
    return (1.7 * torch.arange(like.numel(), dtype=torch.float64) + start).sin().reshape(like.shape)


@torch.no_grad()
def fill(network: nn.Module) -> None:
    """Give every parameter of a network half the numbers of its name."""
    for name, parameter in network.named_parameters():
        parameter.copy_(numbers(name, parameter) / 2)


def summed(tensor: Tensor) -> Tensor:
    """One number of a last axis, of which every entry counts otherwise."""
    return tensor @ torch.arange(tensor.shape[-1], dtype=tensor.dtype).cos()


def main() -> None:
    import adapters  # installed where this file is run, and not where the suite is

    found: dict[str, Any] = {}
    for network, build in NETWORKS.items():
        for case, (config, settings) in CASES.items():
            made: Any = build().double().eval()
            fill(made)
            plain = output_of(network, made).flatten().tolist()
            adapters.init(made)
            made.add_adapter("a", config=getattr(adapters, config)(**settings), set_active=True)
            made.double().eval()
            leaves = {name: p for name, p in made.named_parameters() if ".adapters." in name or "phm_rule" in name}
            with torch.no_grad():
                for name, leaf in leaves.items():
                    leaf.copy_(numbers(name, leaf))
            output = output_of(network, made)
            gradients = torch.autograd.grad(summed(output.flatten()), [*leaves.values()])
            found[f"{network}, {case}"] = {
                "plain": plain,
                "output": output.flatten().tolist(),
                "gradients": {n: summed(g.flatten()).item() for n, g in zip(leaves, gradients, strict=True)},
            }
    NUMBERS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

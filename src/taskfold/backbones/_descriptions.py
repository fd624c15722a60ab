"""Architectures by published name: enough to count on the `meta` device, or to start from random weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Description = Mapping[str, Any]
"""`model_type`, and the settings in which a Hugging Face configuration differs from that type's defaults."""


def describe(name: str) -> Description | None:
    """The description of a published name, with its owner (`google/`) or without; None: unknown.

    Example:
        >>> describe("google/flan-t5-xl")["d_ff"]
        5120
    """
    return _KNOWN.get(name.rpartition("/")[2].lower())


def _t5(width: int, inner: int, heads: int, blocks: int, head_size: int = 64) -> Description:
    shape = {"d_model": width, "d_ff": inner, "num_heads": heads, "num_layers": blocks, "d_kv": head_size}
    return {"model_type": "t5", "vocab_size": 32128, **shape}


def _gated(width: int, inner: int, heads: int, blocks: int) -> Description:
    return {**_t5(width, inner, heads, blocks), "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


def _bert(width: int, heads: int, blocks: int, vocabulary: int = 30522) -> Description:
    shape = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": blocks}
    return {"model_type": "bert", "vocab_size": vocabulary, "intermediate_size": 4 * width, **shape}


def _gpt2(width: int, heads: int, blocks: int) -> Description:
    return {"model_type": "gpt2", "n_embd": width, "n_head": heads, "n_layer": blocks}


def _llama(width: int, inner: int, heads: int, key_heads: int, blocks: int, **more: Any) -> Description:
    shape = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": blocks}
    return {"model_type": "llama", "num_attention_heads": heads, "num_key_value_heads": key_heads, **shape, **more}


_GATED = {  # T5 version 1.1: width, feed-forward width, heads, blocks on each side
    "small": _gated(512, 1024, 6, 8),
    "base": _gated(768, 2048, 12, 12),
    "large": _gated(1024, 2816, 16, 24),
    "xl": _gated(2048, 5120, 32, 24),
    "xxl": _gated(4096, 10240, 64, 24),
}
_SMOL = {"vocab_size": 49152, "tie_word_embeddings": True, "max_position_embeddings": 8192, "rope_theta": 100000.0}

_KNOWN: Mapping[str, Description] = MappingProxyType(
    {
        "t5-small": _t5(512, 2048, 8, 6),
        "t5-base": _t5(768, 3072, 12, 12),
        "t5-large": _t5(1024, 4096, 16, 24),
        "t5-3b": _t5(1024, 16384, 32, 24, head_size=128),
        "t5-11b": _t5(1024, 65536, 128, 24, head_size=128),
        "t5-xl": _GATED["xl"],  # only version 1.1 has these two sizes
        "t5-xxl": _GATED["xxl"],
        **{f"t5-v1_1-{size}": settings for size, settings in _GATED.items()},
        **{f"t5-{size}-lm-adapt": settings for size, settings in _GATED.items()},
        **{f"flan-t5-{size}": settings for size, settings in _GATED.items()},
        "t0_3b": _GATED["xl"],
        "t0": _GATED["xxl"],
        "t0pp": _GATED["xxl"],
        "bert-base-uncased": _bert(768, 12, 12),
        "bert-large-uncased": _bert(1024, 16, 24),
        "bert-base-cased": _bert(768, 12, 12, 28996),
        "gpt2": _gpt2(768, 12, 12),
        "gpt2-medium": _gpt2(1024, 16, 24),
        "gpt2-large": _gpt2(1280, 20, 36),
        "gpt2-xl": _gpt2(1600, 25, 48),
        "llama-2-7b-hf": _llama(4096, 11008, 32, 32, 32),
        "smollm2-135m": _llama(576, 1536, 9, 3, 30, **_SMOL),
    }
)

DESCRIBED = tuple(_KNOWN)
"""All described names."""

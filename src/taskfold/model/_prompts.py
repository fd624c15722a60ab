"""What `generate` is given, as far as mixed batches ask."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ._rows import Batch


def prompts(network: nn.Module, batch: Batch) -> Batch:
    """The inputs of one step, from those of a network that writes text."""
    args, kwargs = batch.arguments()
    config: Any = getattr(network, "config", None)
    names = signature(type(network).forward).parameters
    named = {name: value for name, value in kwargs.items() if name in names and value is not None}
    main = getattr(network, "main_input_name", "input_ids")
    if args:
        named[main] = args[0]
    elif kwargs.get("inputs") is not None:
        named[main] = kwargs["inputs"]
    if "use_cache" in names:
        named["use_cache"] = False
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        first = next(value for value in named.values() if isinstance(value, Tensor))
        start = torch.arange(batch.rows, device=first.device)[:, None] % 2  # rows that differ
        named.setdefault("decoder_input_ids", start)
    return Batch.of((), named, batch.rows)


def padding_of(network: nn.Module, kwargs: Mapping[str, Any]) -> int:
    """What a text is padded with."""
    settings = kwargs.get("generation_config") or getattr(network, "generation_config", None)
    for name in ("pad_token_id", "eos_token_id"):
        value = kwargs.get(name, getattr(settings, name, None))
        if value is not None:
            return int(value[0] if isinstance(value, (list, tuple)) else value)
    return 0

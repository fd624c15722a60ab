"""Arguments of `generate` in mixed batches."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from ._rows import Batch

PLACED = ("prefix_allowed_tokens_fn", "logits_processor", "stopping_criteria", "streamer")
"""Arguments of `generate` that depend on the index of a row in the batch."""


def prompts(network: nn.Module, batch: Batch) -> Batch:
    """The inputs of one forward pass, made from the arguments of `generate`."""
    args, kwargs = batch.arguments()
    config: Any = getattr(network, "config", None)
    names = signature(type(network).forward).parameters
    named = {name: value for name, value in kwargs.items() if name in names and value is not None}
    main = getattr(network, "main_input_name", "input_ids")
    if (given := args[0] if args else kwargs.get("inputs")) is not None:
        named[main] = given
    if "use_cache" in names:
        named["use_cache"] = False
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        first = next(value for value in named.values() if isinstance(value, Tensor))
        start = torch.arange(batch.rows, device=first.device)[:, None] % 2  # rows that differ
        named.setdefault("decoder_input_ids", start)
    return Batch.of((), named, batch.rows)


def asked_of(network: Any, batch: Batch, name: str) -> tuple[Batch, dict[str, Any]]:
    """The arguments of `generate` that are cut into rows, and the settings of all texts.

    Raises:
        ValueError: an argument depends on the index of a row, which would change task by task.
    """
    (args, kwargs), names = batch.arguments(), [*signature(network.generate).parameters]
    rest = args if "args" in names else ()
    given = {**dict(zip(names, () if rest else args, strict=False)), **kwargs}
    if placed := [one for one in PLACED if given.get(one) is not None and given[one] != []]:
        raise ValueError(
            f"{name} writes the texts of this mixed batch task by task, and {placed[0]} would see the rows of each "
            "task alone, counted anew; say it by settings of generation_config, or run one task at a time"
        )
    known = getattr(network, "generation_config", None)
    settings = {one: given.pop(one) for one in [*given] if one == "generation_config" or hasattr(known, one)}
    return Batch.of(rest, given, batch.rows, batch.reading, batch.copies), settings


def padding_of(network: nn.Module, given: Mapping[str, Any]) -> int:
    settings = given.get("generation_config") or getattr(network, "generation_config", None)
    for name in ("pad_token_id", "eos_token_id"):
        value = given.get(name, getattr(settings, name, None))
        if value is not None:
            return int(torch.as_tensor(value).flatten()[0])
    return 0

"""Multiply-adds on the command line: the input, and the table."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import torch
from torch import nn

from ..backbones import LoadedBackbone
from ..methods import Method
from ..operations import MultiplyAdds, multiply_adds
from ._output import UserError

SIDE = 224
TOKENS, TARGETS = 128, 32

Given = tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor], str]
"""Arguments of the network, positional and by name, and the input in words."""


def operations(
    loaded: LoadedBackbone, method: Method, said: str | None, head: int | nn.Module | None
) -> tuple[MultiplyAdds, str]:
    """The multiply-adds of one input, and the input in words."""
    inputs, named, words = _given(loaded, said)
    features, width = loaded.features, loaded.num_features
    try:
        with torch.no_grad():
            loaded.network(*inputs, **named)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise UserError(f"--input: {loaded.name} does not take {words}: {str(error).partition(chr(10))[0]}") from None
    counted = multiply_adds(loaded.network, method, *inputs, head=head, features=features, num_features=width, **named)
    return counted, words


def table_rows(found: MultiplyAdds) -> dict[str, int | str]:
    plain = "–, the method does not fold" if found.folded is None else found.folded
    return {"backbone": found.backbone, "a task, unfolded": found.unfolded, "a task, folded": plain}


def as_json(found: MultiplyAdds, words: str) -> dict[str, Any]:
    return {**found.as_json(), "input": words}


def _given(loaded: LoadedBackbone, said: str | None) -> Given:
    return _texts(loaded, said) if loaded.tokenizer is not None or loaded.generative else _image(loaded, said)


def _image(loaded: LoadedBackbone, said: str | None) -> Given:
    size = tuple((loaded.preprocessing or {}).get("input_size") or (3, SIDE, SIDE))
    if said is not None:
        if not re.fullmatch(r"\d+(x\d+)*", said) or not prod(map(int, said.split("x"))):
            raise UserError(f"--input must be the size of one input, such as 3x{SIDE}x{SIDE}, found {said!r}")
        size = tuple(int(number) for number in said.split("x"))
    return (torch.zeros(1, *size, device="meta"),), {}, "x".join(map(str, size))


def _texts(loaded: LoadedBackbone, said: str | None) -> Given:
    both = loaded.generative == "encoder-decoder"
    counts = (TOKENS, TARGETS) if both else (TOKENS,)
    if said is not None:
        counts = tuple(int(number) for number in said.split("+")) if re.fullmatch(r"\d+(\+\d+)?", said) else ()
        if len(counts) != 1 + both or not all(counts):
            wanted = f"tokens in and out, such as {TOKENS}+{TARGETS}" if both else f"tokens, such as {TOKENS}"
            raise UserError(f"--input must be a number of {wanted}, for {loaded.name}, found {said!r}")
    names = ("input_ids", "decoder_input_ids")
    tokens = {
        name: torch.zeros(1, count, dtype=torch.long, device="meta") for name, count in zip(names, counts, strict=False)
    }
    return (), tokens, f"{'+'.join(map(str, counts))} tokens"

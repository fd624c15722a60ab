"""Initialisations of leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

Init = Literal["zero", "xavier", "normal"]
Start = Callable[[Tensor], object]


def zeros(leaf: Tensor) -> None:
    torch.nn.init.zeros_(leaf)


def xavier(leaf: Tensor) -> None:
    """Xavier-uniform over the factor as an `[rank, size]` matrix (FTN, section IV)."""
    bound = math.sqrt(6.0 / (leaf.shape[0] + leaf[0].numel()))
    torch.nn.init.uniform_(leaf, -bound, bound)


def normal(leaf: Tensor) -> None:
    """N(0, 0.05), FTN's initialisation of attention factors (section III.B)."""
    torch.nn.init.normal_(leaf, std=0.05)


def kaiming(leaf: Tensor) -> None:
    """The usual initialisation of linear and convolution layers; LoRA's for its down projection."""
    bound = 1.0 / math.sqrt(max(leaf[0].numel(), 1))
    torch.nn.init.uniform_(leaf, -bound, bound)


def gaussian(std: float) -> Start:
    """N(0, std)."""
    return partial(torch.nn.init.normal_, std=std)


def starts(init: Init, silent: str, others: Start = xavier) -> Callable[[str], Start]:
    """Leaf name → initialisation. `zero` zeroes exactly one leaf: the product is 0 and still has a gradient.

    With two leaves at zero every gradient would be zero too, and nothing would learn.
    """
    if init == "zero":
        return lambda name: zeros if name == silent else others
    if init == "xavier":
        return lambda name: xavier
    if init == "normal":
        return lambda name: normal
    raise ValueError(f"init={init!r} is not known; choose one of {', '.join(map(repr, get_args(Init)))}")

"""Masks among a layer's tensors: `weight:mask` is one on its weight, `weight:bits` the same as packed bits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..factors import packed, unpacked
from ..kinds import LayerKind, Tensors

MASK = ":mask"
BITS = ":bits"


def mask_on(name: str) -> str:
    """The name of a mask on a layer's tensor."""
    return f"{name}{MASK}"


def masked_name(name: str) -> str:
    """The layer's tensor that a tensor is, or is a mask on."""
    return name.partition(":")[0]


def put_on(kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
    """The same without masks: put on the tensors of that name, those inside, or the layer's own."""
    found = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    if len(found) == len(tensors):
        return found
    for name, mask in tensors.items():
        if ":" in name:
            own = kind.module.get_parameter(masked := masked_name(name))
            below = found.get(masked, inside.get(masked, own))
            found[masked] = below * (unpacked(mask, own.shape, below.dtype) if name.endswith(BITS) else mask)
    return found


def together(inner: Tensors, outer: Tensors) -> dict[str, Tensor]:
    """The tensors of two that stand one inside the other; masks on one tensor are one mask."""
    found = {**inner, **outer}
    for name, mask in inner.items():
        if name.endswith(MASK):
            if name in outer:
                found[name] = mask * outer[name]
            elif masked_name(name) in outer:
                del found[name]  # that one was made of the masked tensor
    return found


def as_bits(tensors: Tensors) -> dict[str, Tensor]:
    """Masks as packed bits, `[width, ⌈n/8⌉]`; two for each number if some are −1."""
    masks = {masked_name(name): mask for name, mask in tensors.items() if name.endswith(MASK)}
    return {f"{name}{BITS}": packed(mask, 1 + bool((mask < 0).any())) for name, mask in masks.items()}


def all_ones(kind: LayerKind, name: str, shape: tuple[int, ...]) -> Tensor:
    """A mask that changes nothing."""
    if name.endswith(MASK):
        return torch.ones(shape, device=kind.device, dtype=kind.dtype)
    bits = torch.zeros(shape, device=kind.device, dtype=torch.uint8)
    bits[0] = 255
    return bits

"""Masks among a layer's tensors: `weight:mask` is one on its weight, `weight:bits` the same as packed bits.

With `weight:scalars`, k `[4]`, the weight is k₀ W + k₁ + k₂ M + k₃ W ⊙ M; without, W ⊙ M.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..factors import PRODUCT, masked, packed, unpacked
from ..kinds import LayerKind, Tensors

MASK = ":mask"
BITS = ":bits"
SCALARS = ":scalars"


def mask_on(name: str) -> str:
    """The name of a mask on a layer's tensor."""
    return f"{name}{MASK}"


def scalars_on(name: str) -> str:
    """The name of the scalars that weigh a layer's tensor and a mask on it."""
    return f"{name}{SCALARS}"


def masked_name(name: str) -> str:
    """The layer's tensor that a tensor is, or is a mask on, or weighs."""
    return name.partition(":")[0]


def put_on(kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
    """The same without masks: put on the tensors of that name, those inside, or the layer's own."""
    found = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    if len(found) == len(tensors):
        return found
    for name, mask in tensors.items():
        if name.endswith((MASK, BITS)):
            own = kind.module.get_parameter(on := masked_name(name))
            below = found.get(on, inside.get(on, own))
            levels = unpacked(mask, own.shape, below.dtype) if name.endswith(BITS) else mask
            found[on] = masked(below, levels, tensors.get(scalars_on(on)))
    return found


def together(inner: Tensors, outer: Tensors) -> dict[str, Tensor] | None:
    """The tensors of two that stand one inside the other; masks on one tensor are one mask, if nothing weighs them."""
    found = {**inner, **outer}
    for name, mask in inner.items():
        if name.endswith(MASK):
            scalars = scalars_on(on := masked_name(name))
            if name in outer and (scalars in inner or scalars in outer):
                return None
            if name in outer:
                found[name] = mask * outer[name]
            elif on in outer:  # that one was made of the masked tensor
                found.pop(scalars, None)
                del found[name]
    return found


def as_bits(tensors: Tensors) -> dict[str, Tensor]:
    """Masks as packed bits, `[width, ⌈n/8⌉]`; two for each number if some are −1; with what weighs them."""
    scalars = {name: tensor for name, tensor in tensors.items() if name.endswith(SCALARS)}
    masks = {masked_name(name): mask for name, mask in tensors.items() if name.endswith(MASK)}
    return {f"{name}{BITS}": packed(mask, 1 + bool((mask < 0).any())) for name, mask in masks.items()} | scalars


def all_ones(kind: LayerKind, name: str, shape: tuple[int, ...]) -> Tensor:
    """A mask that changes nothing, and scalars that weigh it alone."""
    if name.endswith(SCALARS):
        return torch.tensor(PRODUCT, device=kind.device, dtype=kind.dtype)
    if name.endswith(MASK):
        return torch.ones(shape, device=kind.device, dtype=kind.dtype)
    bits = torch.zeros(shape, device=kind.device, dtype=torch.uint8)
    bits[0] = 255
    return bits

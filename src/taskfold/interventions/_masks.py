"""What is done to a layer's tensors where nothing takes their place.

`weight:mask` is a mask on its weight, `weight:bits` the same as packed bits. With `weight:scalars`, k `[4]`, the weight
is k₀ W + k₁ + k₂ M + k₃ W ⊙ M; without, W ⊙ M. `bias:added` is added to its bias.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..factors import PRODUCT, masked, packed, unpacked
from ..kinds import LayerKind, Tensors

MASK = ":mask"
BITS = ":bits"
ADDED = ":added"
SCALARS = ":scalars"


def mask_on(name: str) -> str:
    """The name of a mask on a layer's tensor."""
    return f"{name}{MASK}"


def scalars_on(name: str) -> str:
    """The name of the scalars that weigh a layer's tensor and a mask on it."""
    return f"{name}{SCALARS}"


def added_to(name: str) -> str:
    """The name of what is added to a layer's tensor; to zeros, where the layer has a place for it and no tensor."""
    return f"{name}{ADDED}"


def masked_name(name: str) -> str:
    """The layer's tensor that a tensor is, is a mask on, weighs, or is added to."""
    return name.partition(":")[0]


def put_on(kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
    """The same without masks and what is added: put on the tensors of that name, those inside, or the layer's own."""
    found = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    if len(found) == len(tensors):
        return found
    for name, mask in tensors.items():
        on = masked_name(name)
        if name.endswith(ADDED):
            below = found.get(on, inside.get(on))
            below = kind.tensors().get(on) if below is None else below
            found[on] = mask if below is None else below + mask
        elif name.endswith((MASK, BITS)):
            own = kind.module.get_parameter(on)
            below = found.get(on, inside.get(on, own))
            levels = unpacked(mask, own.shape, below.dtype) if name.endswith(BITS) else mask
            found[on] = masked(below, levels, tensors.get(scalars_on(on)))
    return found


def together(inner: Tensors, outer: Tensors) -> dict[str, Tensor] | None:
    """The tensors of two that stand one inside the other, if one does the same: masks on one tensor are one mask, if
    nothing weighs them, and so is what is added.

    No tensor has both at once: masks are on weights, and biases are added to.
    """
    found = {**inner, **outer}
    for name, mask in inner.items():
        on = masked_name(name)
        if name.endswith(MASK) and name in outer and (scalars_on(on) in inner or scalars_on(on) in outer):
            return None
        if not name.endswith((MASK, ADDED)):
            continue
        if name in outer:
            found[name] = mask + outer[name] if name.endswith(ADDED) else mask * outer[name]
        elif on in outer:  # that one was made of the masked tensor
            found.pop(scalars_on(on), None)
            del found[name]
    return found


def as_bits(tensors: Tensors) -> dict[str, Tensor]:
    """Masks as packed bits, `[width, ⌈n/8⌉]`; two for each number if some are −1; with what weighs them."""
    scalars = {name: tensor for name, tensor in tensors.items() if name.endswith(SCALARS)}
    masks = {masked_name(name): mask for name, mask in tensors.items() if name.endswith(MASK)}
    return {f"{name}{BITS}": packed(mask, 1 + bool((mask < 0).any())) for name, mask in masks.items()} | scalars


def nothing_done(kind: LayerKind, name: str, shape: tuple[int, ...]) -> Tensor:
    """A mask that changes nothing, scalars that weigh it alone, or nothing that is added."""
    if name.endswith(ADDED):
        return torch.zeros(shape, device=kind.device, dtype=kind.dtype)
    if name.endswith(SCALARS):
        return torch.tensor(PRODUCT, device=kind.device, dtype=kind.dtype)
    if name.endswith(MASK):
        return torch.ones(shape, device=kind.device, dtype=kind.dtype)
    bits = torch.zeros(shape, device=kind.device, dtype=torch.uint8)
    bits[0] = 255
    return bits

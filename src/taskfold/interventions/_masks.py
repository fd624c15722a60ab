"""What is done to a layer's tensors where nothing takes their place.

`weight:mask` is a mask on its weight, `weight:bits` the same as packed bits; `bias:added` is added to its bias;
`weight:values` are added to its weight at `weight:places`, counted through it; in a bank places are bytes, four each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..factors import packed, unpacked
from ..kinds import LayerKind, Tensors

MASK = ":mask"
BITS = ":bits"
ADDED = ":added"
PLACES, VALUES = ":places", ":values"


def mask_on(name: str) -> str:
    """The name of a mask on a layer's tensor."""
    return f"{name}{MASK}"


def added_to(name: str) -> str:
    """The name of what is added to a layer's tensor; to zeros, where the layer has a place for it and no tensor."""
    return f"{name}{ADDED}"


def entries_of(name: str, places: Tensor, values: Tensor) -> dict[str, Tensor]:
    """Values `[k]` that are added to a layer's tensor, at places `[k]`; equal places add up."""
    return {f"{name}{PLACES}": places, f"{name}{VALUES}": values}


def masked_name(name: str) -> str:
    """The layer's tensor that a tensor is, is a mask on, or is added to."""
    return name.partition(":")[0]


def put_on(kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
    """The same without masks and what is added: put on the tensors of that name, those inside, or the layer's own."""
    found = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    if len(found) == len(tensors):
        return found
    for name, mask in tensors.items():
        masked = masked_name(name)
        if name.endswith(ADDED):
            below = found.get(masked, inside.get(masked))
            below = kind.tensors().get(masked) if below is None else below
            found[masked] = mask if below is None else below + mask
        elif name.endswith(VALUES):
            own = kind.module.get_parameter(masked)
            below = found.get(masked, inside.get(masked, own))
            found[masked] = _with_entries(below, own.shape, tensors[f"{masked}{PLACES}"], mask)
        elif ":" in name and not name.endswith(PLACES):
            own = kind.module.get_parameter(masked)
            below = found.get(masked, inside.get(masked, own))
            found[masked] = below * (unpacked(mask, own.shape, below.dtype) if name.endswith(BITS) else mask)
    return found


def _with_entries(below: Tensor, shape: torch.Size, places: Tensor, values: Tensor) -> Tensor:
    """`[*, *shape]` with values `[*, k]` added at places; `*` is nothing, or tasks."""
    if places.dtype == torch.uint8:
        places = places.clone(memory_format=torch.contiguous_format).view(torch.int32).long()
    flat = below.reshape(*below.shape[: below.dim() - len(shape)], shape.numel())
    flat = flat.expand(*values.shape[:-1], shape.numel())
    return flat.scatter_add(-1, places, values).unflatten(-1, shape)


def together(inner: Tensors, outer: Tensors) -> dict[str, Tensor]:
    """The tensors of two that stand one inside the other; masks on one tensor are one mask, and so is what is added.

    No tensor has both at once: masks are on weights, and biases are added to.
    """
    found = {**inner, **outer}
    for name, mask in inner.items():
        if name.endswith((MASK, ADDED, PLACES, VALUES)):
            if name in outer:
                found[name] = _one_of(name, mask, outer[name])
            elif masked_name(name) in outer:
                del found[name]  # that one was made of the masked tensor
    return found


def _one_of(name: str, inner: Tensor, outer: Tensor) -> Tensor:
    if name.endswith(MASK):
        return inner * outer
    return inner + outer if name.endswith(ADDED) else torch.cat([inner, outer], -1)


def as_bits(tensors: Tensors) -> dict[str, Tensor]:
    """Masks as packed bits, `[width, ⌈n/8⌉]`; two for each number if some are −1."""
    masks = {masked_name(name): mask for name, mask in tensors.items() if name.endswith(MASK)}
    return {f"{name}{BITS}": packed(mask, 1 + bool((mask < 0).any())) for name, mask in masks.items()}


def nothing_done(kind: LayerKind, name: str, shape: tuple[int, ...]) -> Tensor:
    """A mask that changes nothing, or nothing that is added."""
    if name.endswith(PLACES):
        return torch.zeros(shape, device=kind.device, dtype=torch.int64)
    if name.endswith((ADDED, VALUES)):
        return torch.zeros(shape, device=kind.device, dtype=kind.dtype)
    if name.endswith(MASK):
        return torch.ones(shape, device=kind.device, dtype=kind.dtype)
    bits = torch.zeros(shape, device=kind.device, dtype=torch.uint8)
    bits[0] = 255
    return bits

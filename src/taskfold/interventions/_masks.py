"""Masks on a layer's tensors, and terms added to them.

`weight:mask` is a mask M on the weight W, `weight:bits` the same as packed bits. With `weight:scalars`, k `[4]`, the
weight is k₀ W + k₁ + k₂ M + k₃ W ⊙ M; without, W ⊙ M. `bias:added` is added to the bias. `weight:values` are added to
the weight at `weight:places`, flat indices; in a bank each place is four bytes.
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
PLACES, VALUES = ":places", ":values"


def mask_on(name: str) -> str:
    """The name of a mask on a layer's tensor."""
    return f"{name}{MASK}"


def scalars_on(name: str) -> str:
    """The name of the scalars that combine a layer's tensor with a mask on it."""
    return f"{name}{SCALARS}"


def added_to(name: str) -> str:
    """The name of the term added to a layer's tensor; a layer without that tensor gets it."""
    return f"{name}{ADDED}"


def entries_of(name: str, places: Tensor, values: Tensor) -> dict[str, Tensor]:
    """The named values `[k]` that are added to a layer's tensor at places `[k]`; equal places add up."""
    return {f"{name}{PLACES}": places, f"{name}{VALUES}": values}


def masked_name(name: str) -> str:
    """The name of the layer's tensor that a named tensor is or applies to."""
    return name.partition(":")[0]


def put_on(kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
    """The resulting tensors: masks and terms applied to the tensors of that name, those inside, or the layer's."""
    found = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    if len(found) == len(tensors):
        return found
    for name, mask in tensors.items():
        on = masked_name(name)
        if name.endswith(ADDED):
            below = found.get(on, inside.get(on))
            below = kind.tensors().get(on) if below is None else below
            found[on] = mask if below is None else below + mask
        elif name.endswith(VALUES):
            own = kind.module.get_parameter(on)
            below = found.get(on, inside.get(on, own))
            found[on] = _with_entries(below, own.shape, tensors[f"{on}{PLACES}"], mask)
        elif name.endswith((MASK, BITS)):
            own = kind.module.get_parameter(on)
            below = found.get(on, inside.get(on, own))
            levels = unpacked(mask, own.shape, below.dtype) if name.endswith(BITS) else mask
            found[on] = masked(below, levels, tensors.get(scalars_on(on)))
    return found


def _with_entries(below: Tensor, shape: torch.Size, places: Tensor, values: Tensor) -> Tensor:
    """`[*, *shape]` with values `[*, k]` added at places; `*` is empty, or the axis of tasks."""
    if places.dtype == torch.uint8:
        places = places.clone(memory_format=torch.contiguous_format).view(torch.int32).long()
    flat = below.reshape(*below.shape[: below.dim() - len(shape)], shape.numel())
    flat = flat.expand(*values.shape[:-1], shape.numel())
    return flat.scatter_add(-1, places, values).unflatten(-1, shape)


def together(inner: Tensors, outer: Tensors) -> dict[str, Tensor] | None:
    """The tensors of two changes, one inside the other, as one change; None: masks with scalars can't be joined.

    Masks multiply and terms add. No tensor has both: masks are on weights, terms on biases.
    """
    found = {**inner, **outer}
    for name, mask in inner.items():
        on = masked_name(name)
        if name.endswith(MASK) and name in outer and (scalars_on(on) in inner or scalars_on(on) in outer):
            return None
        if not name.endswith((MASK, ADDED, PLACES, VALUES)):
            continue
        if name in outer:
            found[name] = _one_of(name, mask, outer[name])
        elif on in outer:  # the outer tensor was made from the masked one
            found.pop(scalars_on(on), None)
            del found[name]
    return found


def _one_of(name: str, inner: Tensor, outer: Tensor) -> Tensor:
    if name.endswith(MASK):
        return inner * outer
    return inner + outer if name.endswith(ADDED) else torch.cat([inner, outer], -1)


def as_bits(tensors: Tensors) -> dict[str, Tensor]:
    """Masks as packed bits, `[width, ⌈n/8⌉]`, two bits for each number if some are −1; with their scalars."""
    scalars = {name: tensor for name, tensor in tensors.items() if name.endswith(SCALARS)}
    masks = {masked_name(name): mask for name, mask in tensors.items() if name.endswith(MASK)}
    return {f"{name}{BITS}": packed(mask, 1 + bool((mask < 0).any())) for name, mask in masks.items()} | scalars


def nothing_done(kind: LayerKind, name: str, shape: tuple[int, ...]) -> Tensor:
    """A neutral mask, neutral scalars, or a zero term."""
    if name.endswith(PLACES):
        return torch.zeros(shape, device=kind.device, dtype=torch.int64)
    if name.endswith((ADDED, VALUES)):
        return torch.zeros(shape, device=kind.device, dtype=kind.dtype)
    if name.endswith(SCALARS):
        return torch.tensor(PRODUCT, device=kind.device, dtype=kind.dtype)
    if name.endswith(MASK):
        return torch.ones(shape, device=kind.device, dtype=kind.dtype)
    bits = torch.zeros(shape, device=kind.device, dtype=torch.uint8)
    bits[0] = 255
    return bits

"""Digests of tensors, and identities of networks, as short texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ._source import source_of

QUANTISED = "_taskfold_quantised"
"""The attribute in which a quantised network keeps its identity."""
_ROUNDED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types that a network may be rounded to in serving."""


def digest(tensors: Mapping[str, Tensor], *also: str) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors in any order, and further text."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    for text in also:
        total.update(text.encode())
    return total.hexdigest()


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of a network's state: parameters and buffers by name, shape and value, independent of the floating type.

    Two networks with the same fingerprint and the same code compute the same, except for rounding.

    Raises:
        ValueError: the network is on the meta device and has no bytes.

    Example:
        >>> half = nn.Linear(2, 2).bfloat16()
        >>> fingerprint(half) == fingerprint(nn.Linear(2, 2)), fingerprint(half) == fingerprint(half.float())
        (False, True)
    """
    return digest({name: _value(tensor) for name, tensor in _state(network)})


def identity(network: nn.Module) -> dict[str, Any]:
    """The identity of a network, as a file records it: JSON.

    It holds the network's source, as far as known (`source_of`); its fingerprint, its floating types, and its
    fingerprint after rounding to narrower ones: a network loaded in one of these is the same. For a network from
    `quantised`, all that describes the original network; the recipe and the fingerprint of the result are added.
    """
    if (kept := _quantised(network)) is not None:
        return kept
    types = types_of(network)
    widest = max((getattr(torch, name).itemsize for name in types), default=0)
    narrower = [name for name, dtype in _ROUNDED.items() if dtype.itemsize < widest or dtype.itemsize == widest == 2]
    return {
        "class": type(network).__name__,
        **source_of(network),
        "fingerprint": fingerprint(network),
        "types": types,
        "rounded": {name: _rounded(network, name) for name in narrower},
    }


def is_same(network: nn.Module, said: Mapping[str, Any]) -> bool:
    """Whether a network is the one of a file: equal in every value, in the narrower of the two types.

    A network from `quantised` and its original are the same; two quantised ones are if they hold the same numbers.

    Args:
        network: the network at hand.
        said: the recorded `identity`.
    """
    theirs = said.get("quantised")
    if (mine := _quantised(network)) is not None:
        return mine["quantised"]["fingerprint"] == theirs["fingerprint"] if theirs else _alike(mine, said)
    if fingerprint(network) in (said["fingerprint"], theirs and theirs["fingerprint"]):
        return True
    either = {*types_of(network), *said["types"]}
    stated = _stated(said)
    return any(name in either and name in stated and _rounded(network, name) == stated[name] for name in _ROUNDED)


def _quantised(network: nn.Module) -> dict[str, Any] | None:
    """The identity of a network from `quantised`; None: of any other, and of one changed since."""
    kept: dict[str, Any] | None = network.__dict__.get(QUANTISED)
    return None if kept is None or fingerprint(network) != kept["quantised"]["fingerprint"] else kept


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Like `is_same`, for two recorded identities."""
    either, (mine, theirs) = {*one["types"], *other["types"]}, map(_stated, (one, other))
    same = [name for name in mine.keys() & theirs.keys() if name in either and mine[name] == theirs[name]]
    return one["fingerprint"] == other["fingerprint"] or bool(same)


def _stated(said: Mapping[str, Any]) -> dict[str, str]:
    return {"float32": said["fingerprint"]} | dict(said["rounded"])


def _rounded(network: nn.Module, name: str) -> str:
    """The fingerprint of a network whose tensors are rounded to a type; narrower ones stay."""
    dtype = _ROUNDED[name]
    state = {key: t.to(dtype) if _rounds(t, dtype) else t for key, t in _state(network)}
    return digest(state if dtype.itemsize == 2 else {key: _value(tensor) for key, tensor in state.items()})


def _rounds(tensor: Tensor, dtype: torch.dtype) -> bool:
    return tensor.is_floating_point() and tensor.dtype != dtype and tensor.dtype.itemsize >= dtype.itemsize


def types_of(network: nn.Module) -> list[str]:
    found = {str(tensor.dtype) for _, tensor in _state(network) if tensor.is_floating_point()}
    return sorted(name.removeprefix("torch.") for name in found)


def _value(tensor: Tensor) -> Tensor:
    """A tensor in the type for comparisons: single precision if that represents it exactly."""
    if not tensor.is_floating_point() or tensor.dtype == torch.float32:
        return tensor
    single = tensor.to(torch.float32)
    return single if tensor.element_size() < 4 or torch.equal(single.to(tensor.dtype), tensor) else tensor


def _state(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a network's state, with the inner tensors of quantised ones."""
    for name, held in network.state_dict().items():
        for part, tensor in _parts(name, held):
            if tensor.device.type == "meta":
                raise ValueError(
                    "the network is on the meta device and has no weights to take a fingerprint of; load it first"
                )
            yield part, tensor


def _parts(name: str, held: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(held, (tuple, list)):  # torch's packed numbers
        for n, one in enumerate(held):
            yield from _parts(f"{name}.{n}", one)
    if not isinstance(held, Tensor):
        return
    if whole := getattr(held, "full_tensor", None):  # sharded: the processes that hold the shards call this together
        held = whole()
    if is_traceable_wrapper_subclass(held):
        inner, _ = held.__tensor_flatten__()  # type: ignore[attr-defined]
        for part in inner:
            yield from _parts(f"{name}.{part}", getattr(held, part))
    elif held.is_quantized:
        alike = held.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)
        yield f"{name}.codes", held.int_repr()
        scale = torch.tensor(held.q_scale()) if alike else held.q_per_channel_scales()
        zero = torch.tensor(held.q_zero_point()) if alike else held.q_per_channel_zero_points()
        yield from ((f"{name}.scale", scale), (f"{name}.zero", zero))
    else:
        yield name, held.detach()

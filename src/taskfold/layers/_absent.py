"""Absent tensors: the shapes of outputs of a skipped part of a network, without data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

_DEVICE, _CUDA = Tensor.device.__get__, Tensor.is_cuda.__get__  # type: ignore[attr-defined]


class AbsentError(RuntimeError):
    """A network needs outputs of its frozen part that were not kept."""


class Absent(Tensor):
    """A tensor with a type, a shape and a device, but no data; results computed from it are absent too.

    Example:
        >>> hidden = Absent.of(torch.empty(2, 8, device="meta"), torch.device("cpu"))
        >>> made = (hidden + torch.ones(8)).relu()
        >>> type(made).__name__, made.shape, made.device
        ('Absent', torch.Size([2, 8]), device(type='cpu'))
    """

    home: torch.device

    @classmethod
    def of(cls, like: Tensor, device: torch.device) -> Absent:
        """The absent tensor on `device` with the type and shape of `like`, a meta tensor."""
        made = torch.Tensor._make_subclass(cls, like)
        made.home = device
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = next(leaf.__dict__["home"] for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Absent))
        if func in (_DEVICE, _CUDA):
            return device if func == _DEVICE else device.type == "cuda"
        name = getattr(func, "__name__", "")
        in_place = name in ("__setitem__", "__set__") or (name.endswith("_") and not name.endswith("__"))
        in_place |= name.startswith("__i") and name != "__invert__"
        into = kwargs.get("out", args[0] if in_place and args else None)
        if isinstance(into, Tensor) and not isinstance(into, Absent):
            raise AbsentError(f"{name} writes what the frozen part puts out into another tensor")
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*tree_map(_without_numbers, tuple(args)), **tree_map(_without_numbers, kwargs))
        if isinstance(made, torch.Size):  # tree_map would take it for a tuple
            return made
        return tree_map(lambda one: cls.of(one, device) if isinstance(one, Tensor) else one, made)


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Absent):
        return value.as_subclass(Tensor)
    if isinstance(value, Tensor):
        return value.detach().to("meta")
    return torch.device("meta") if isinstance(value, torch.device) else value


def absent_in(value: Any) -> bool:
    """Whether nested values hold an absent or meta tensor."""
    return any(
        isinstance(leaf, Tensor) and (isinstance(leaf, Absent) or leaf.is_meta) for leaf in tree_flatten(value)[0]
    )

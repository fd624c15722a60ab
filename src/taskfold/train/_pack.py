"""Nested state as tensors and JSON; nothing is pickled."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Splits nested dicts, lists, tuples, tensors, numbers, text and None; `unpack` is the inverse.

    Returns:
        The tensors by number, copied to the CPU, and JSON that refers to them.

    Raises:
        TypeError: the state holds another type.

    Example:
        >>> import torch
        >>> tensors, plain = pack({"lr": 0.1, 0: (torch.ones(2), None)})
        >>> sorted(tensors), unpack(tensors, plain)
        (['0'], {'lr': 0.1, 0: (tensor([1., 1.]), None)})
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _packed(state, tensors)


def unpack(tensors: dict[str, Tensor], plain: Any) -> Any:
    """The state that `pack` split."""
    if isinstance(plain, list):
        return [unpack(tensors, item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, value),) = plain.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "tuple":
        return tuple(unpack(tensors, item) for item in value)
    return {unpack(tensors, key): unpack(tensors, item) for key, item in value}


def _packed(state: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(state, Tensor):
        key = str(len(tensors))
        tensors[key] = state.detach().cpu().clone().contiguous()
        return {"tensor": key}
    if isinstance(state, dict):
        return {"dict": [[_packed(key, tensors), _packed(value, tensors)] for key, value in state.items()]}
    if isinstance(state, list):
        return [_packed(item, tensors) for item in state]
    if isinstance(state, tuple):
        return {"tuple": [_packed(item, tensors) for item in state]}
    if state is None or type(state) in (bool, int, float, str):
        return state
    raise TypeError(f"state holds a {type(state).__name__}, which is neither a tensor nor JSON: {state!r}")

"""What lies in attributes of modules: tensors inside lists, tuples, dicts and objects of the user's classes."""

from __future__ import annotations

import copy
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

FILLED = (list, deque, dict, set)
_CLOSED = (Tensor, nn.Module, type, types.ModuleType, types.FunctionType, types.MethodType)
_DEPTH = 6


def is_open(value: object) -> bool:
    """Whether a value is an object with attributes, and neither a module nor a function."""
    if isinstance(value, (*_CLOSED, *FILLED)) or type(value).__module__.startswith("torch."):
        return False
    return isinstance(getattr(value, "__dict__", None), dict)


def containers(value: Any, depth: int = 0) -> Iterator[Any]:
    """The lists, dicts and sets in a value, and the attributes of objects."""
    value = vars(value) if is_open(value) else value
    if isinstance(value, FILLED):
        yield value
    if isinstance(value, (tuple, *FILLED)) and depth < _DEPTH:
        for one in [*value.values()] if isinstance(value, dict) else [*value]:
            yield from containers(one, depth + 1)


def inside(value: Any) -> Iterator[Any]:
    """The tensors in a value, nested ones included."""
    for one in ((value,), *containers((value,))):
        for part in [*one.values()] if isinstance(one, dict) else [*one]:
            for leaf in part if isinstance(part, tuple) else (part,):
                if isinstance(leaf, Tensor):
                    yield leaf


def refill(held: Any, parts: Any) -> None:
    """Gives a list, dict or set other parts."""
    held.clear()
    if isinstance(held, dict):
        for key, one in parts.items():  # what transformers put out has no update
            held[key] = one
    else:
        (held.update if isinstance(held, set) else held.extend)(parts)


def own_copy(value: Any, made: dict[int, Any]) -> Any:
    """A copy of a value and of the tensors inside; parameters and modules stay.

    Args:
        value: of an attribute.
        made: copies by `id`: equal objects stay one object, and tensors that share memory go on sharing it.
    """
    if id(value) in made:
        return made[id(value)]
    twin: Any = value
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        twin = copy.deepcopy(value, made) if type(value) is Tensor and not value.requires_grad else value.clone()
    elif isinstance(value, tuple):
        parts = [own_copy(one, made) for one in value]
        twin = type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    elif isinstance(value, FILLED) or is_open(value):
        twin = made[id(value)] = copy.copy(value)
        held = vars(value) if is_open(value) else value
        if isinstance(held, dict):
            refill(vars(twin) if is_open(twin) else twin, {key: own_copy(one, made) for key, one in held.items()})
        else:
            refill(twin, [own_copy(one, made) for one in held])
    made[id(value)] = twin
    return twin

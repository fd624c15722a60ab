"""What lies in attributes of modules: tensors and arrays inside lists, tuples, dicts and objects of users' classes."""

from __future__ import annotations

import copy
import sys
import types
from collections import deque
from collections.abc import Iterator, MutableMapping
from operator import is_
from typing import Any

from torch import Tensor, nn


class Slotted(MutableMapping[str, Any]):
    """The attributes of an object whose class has `__slots__`; a copy is a dict."""

    def __init__(self, of: object) -> None:
        self.of = of

    def __getitem__(self, name: str) -> Any:
        return getattr(self.of, name)

    def __setitem__(self, name: str, value: Any) -> None:
        object.__setattr__(self.of, name, value)

    def __delitem__(self, name: str) -> None:
        object.__delattr__(self.of, name)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in slots_of(self.of) if hasattr(self.of, name)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __copy__(self) -> dict[str, Any]:
        return dict(self)


NAMED = (dict, Slotted)
FILLED = (list, deque, set, *NAMED)
_CLOSED = (Tensor, nn.Module, type, types.ModuleType, types.FunctionType, types.MethodType)
_DEPTH = 6


def is_open(value: object) -> bool:
    """Whether a value is an object with attributes, and neither a module nor a function."""
    if isinstance(value, (*_CLOSED, *FILLED)) or type(value).__module__.startswith("torch."):
        return False
    theirs = isinstance(value, tuple) or type(value).__module__.partition(".")[0] in sys.stdlib_module_names
    return isinstance(getattr(value, "__dict__", None), dict) or not (theirs or not slots_of(value))


def is_array(value: object) -> bool:
    """Whether a value is an array of NumPy."""
    return type(value).__name__ == "ndarray" and type(value).__module__ == "numpy"


def slots_of(value: object) -> list[str]:
    """The names that an object's class has in `__slots__`."""
    held = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    return [name for names in held for name in ((names,) if isinstance(names, str) else names) if name[:2] != "__"]


def _attributes(value: object) -> Any:
    """The attributes of an open object; a change there is one of the object."""
    held = getattr(value, "__dict__", None)
    return Slotted(value) if held is None else held


def containers(value: Any, depth: int = 0) -> Iterator[Any]:
    """The lists, dicts, sets and arrays in a value, and the attributes of objects."""
    value = _attributes(value) if is_open(value) else value
    if isinstance(value, FILLED) or is_array(value):
        yield value
    if isinstance(value, (tuple, *FILLED)) and depth < _DEPTH:
        for one in [*value.values()] if isinstance(value, NAMED) else [*value]:
            yield from containers(one, depth + 1)


def inside(value: Any) -> Iterator[Any]:
    """The tensors in a value, nested ones included."""
    for one in ((value,), *containers((value,))):
        for part in [*one.values()] if isinstance(one, NAMED) else () if is_array(one) else [*one]:
            for leaf in part if isinstance(part, tuple) else (part,):
                if isinstance(leaf, Tensor):
                    yield leaf


def refill(held: Any, parts: Any) -> None:
    """Gives a list, dict, set or array other parts."""
    if is_array(held):
        held[...] = parts
        return
    held.clear()
    if isinstance(held, NAMED):
        for key, one in parts.items():  # what transformers put out has no update
            held[key] = one
    else:
        (held.update if isinstance(held, set) else held.extend)(parts)


def is_same(held: Any, before: Any) -> bool:
    """Whether a container holds what it held before."""
    if is_array(held):
        return held.tobytes() == before.tobytes()
    both = (held.values(), before.values()) if isinstance(held, NAMED) else (held, before)
    return len(held) == len(before) and all(map(is_, *both))


def own_copy(value: Any, made: dict[int, Any]) -> Any:
    """A copy of a value and of the tensors and arrays inside; parameters and modules stay.

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
        held, other = (_attributes(value), _attributes(twin)) if is_open(value) else (value, twin)
        if isinstance(held, NAMED):
            refill(other, {key: own_copy(one, made) for key, one in held.items()})
        else:
            refill(twin, [own_copy(one, made) for one in held])
    elif is_array(value):
        twin = copy.copy(value)
    made[id(value)] = twin
    return twin

"""Rebinding: copies of attribute values with proxies in place of the modules that they refer to."""

from __future__ import annotations

import copy
import dis
import functools
import types
import weakref
from collections.abc import Container, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor, torch.dtype, torch.device, torch.Size, type)
_DEPTH = 6


class Rebinding:
    """Replaces modules by proxies, given by `id`, in containers, closures, methods, weak references and objects."""

    def __init__(self, proxies: Mapping[int, nn.Module]) -> None:
        self.proxies = proxies
        self.known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """The value with its modules replaced; the same object if it refers to none."""
        if isinstance(value, (*_PLAIN, types.ModuleType)) or depth > _DEPTH:
            return value
        if isinstance(value, nn.Module):
            return self.proxies.get(id(value), value)
        if id(value) not in self.known:
            self.known[id(value)] = value, value  # ends cycles
            self.known[id(value)] = value, self._rebound(value, depth + 1)
        return self.known[id(value)][1]

    def _rebound(self, value: Any, depth: int) -> Any:
        if isinstance(value, weakref.ref):
            found = self(value(), depth)
            return value if found is value() else weakref.ref(found)
        if isinstance(value, types.MethodType):
            owner, function = self(value.__self__, depth), self(value.__func__, depth)
            same = owner is value.__self__ and function is value.__func__
            return value if same else types.MethodType(function, owner)
        if isinstance(value, functools.partial):
            parts = value.func, value.args, value.keywords
            function, args, kwargs = (self(part, depth) for part in parts)
            same = all(one is other for one, other in zip(parts, (function, args, kwargs), strict=True))
            return value if same else functools.partial(function, *args, **kwargs)
        if isinstance(value, types.FunctionType):
            return self._function(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            made = [self(one, depth) for one in value]
            if all(one is other for one, other in zip(made, value, strict=True)):
                return value
            return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
        if isinstance(value, dict):
            made = {key: self(one, depth) for key, one in value.items()}
            if all(made[key] is one for key, one in value.items()):
                return value
            twin = copy.copy(value)
            twin.update(made)
            return twin
        return self._object(value, depth)

    def _function(self, function: types.FunctionType, depth: int) -> types.FunctionType:
        held = [content(cell) for cell in function.__closure__ or ()]
        parts = [*held, function.__defaults__, function.__kwdefaults__]
        made = [self(part, depth) for part in parts]
        if all(one is other for one, other in zip(made, parts, strict=True)):
            return function
        cells = tuple(
            cell if one is new else types.CellType(new)
            for cell, one, new in zip(function.__closure__ or (), held, made, strict=False)
        )
        twin = types.FunctionType(function.__code__, function.__globals__, function.__name__, made[-2], cells)
        twin.__kwdefaults__ = made[-1]
        twin.__dict__.update(function.__dict__)
        return twin

    def _object(self, value: Any, depth: int) -> Any:
        table = getattr(value, "__dict__", None)
        if not isinstance(table, dict) or depth > 3:
            return value
        changed = {name: new for name, one in table.items() if (new := self(one, depth)) is not one}
        if not changed:
            return value
        twin = copy.copy(value)
        twin.__dict__.update(changed)
        return twin


def hidden(value: Any, modules: Container[int], depth: int = 0) -> str | None:
    """The global variable by which a callable refers to a module with an `id` in `modules`; it can't be rebound."""
    if isinstance(value, functools.partial):
        return hidden(value.func, modules, depth)
    if isinstance(value, types.MethodType):
        value = value.__func__
    if not isinstance(value, types.FunctionType) or depth > 3:
        return None
    globals_ = {name: value.__globals__.get(name) for name in global_names(value.__code__)}
    for name, found in globals_.items():
        owner = found.__self__ if isinstance(found, types.MethodType) else found
        if isinstance(owner, nn.Module) and id(owner) in modules:
            return name
    inner = (*map(content, value.__closure__ or ()), *globals_.values())
    return next((name for one in inner if (name := hidden(one, modules, depth + 1))), None)


def global_names(code: types.CodeType) -> Iterator[str]:
    """The global variables that a function and its inner functions read."""
    yield from (one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from global_names(inner)


def content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not yet filled

"""Proxies: modules with the tensors, hooks and attributes of the user's module, and children and mode of their own."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import nn

from ..refusals import StateError
from . import _left as left
from ._inside import is_array, own_copy

OF, PATH, SETTLING, STATE, FRESH, READ = "_proxied", "_path", "_settling", "_state", "_fresh", "_read"
"""Entries in a proxy's `__dict__`: the user's module; its path; writes stay in the proxy (True: the user's
hooks run, which write to the user's module); a task's tensors; the empty values of
caches; the caches that were read."""
LEFT = "_left"
"""What passes have left in attributes of the user's module."""
ASKED = "_asked"
"""Names of attributes that passes have read before they wrote them: what is written there may be a state."""
TWIN = "_twin"
"""The `__dict__` of the layer's second proxy, which gets the same writes."""
KEPT = ("training", "_modules")
SHARED = tuple(name for name in nn.Module().__dict__ if name not in (*KEPT, "_is_full_backward_hook"))
EXCHANGING = (torch.Tensor.data.__set__, torch.Tensor.set_)  # type: ignore[attr-defined]
"""Functions that give a tensor other memory."""
_register = functools.partial(nn.Module.register_buffer, persistent=False)
_CLASSES: dict[tuple[type, type, tuple[str, ...]], type] = {}


class Proxy:
    """The base of all proxy classes, before the class of the user's module."""

    def __init_subclass__(cls, **_: Any) -> None:
        """Does nothing: the module's class has registered its subclasses already."""

    def __getattr__(self, name: str) -> Any:
        table = self.__dict__
        of = table.get(OF)
        if of is None:  # a new module of this class, made in a forward pass
            return super().__getattr__(name)  # type: ignore[misc]
        if name in table["_parameters"]:
            return table["_parameters"][name]
        if name in table["_buffers"] and (torch.compiler.is_compiling() or name not in table[LEFT]):
            return table["_buffers"][name]
        if name in table["_modules"]:
            return table["_modules"][name]
        held = of.__dict__ if name in of.__dict__ else table["_buffers"]
        if name in held:
            value = held[name]
            if STATE in table and not table["training"] and type(value) in left.TENSORS:
                return _begun(table, name, value)
            if not torch.compiler.is_compiling() and (table[LEFT] or name not in table[ASKED]):
                value = _own(table, name, value)
            if value is left.GONE and name in table["_buffers"]:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return value if value is not left.GONE else super().__getattr__(name)  # type: ignore[misc]
        elif not torch.compiler.is_compiling():
            table[ASKED].add(name)
        return super().__getattr__(name)  # type: ignore[misc]

    def __setattr__(self, name: str, value: Any) -> None:
        table = self.__dict__
        of = table.get(OF)
        if of is None:
            super().__setattr__(name, value)
        elif name in KEPT:
            table[name] = value
        elif name in table["_parameters"] or name in table["_buffers"] or isinstance(value, nn.Parameter):
            _replace(table, name, value)
        elif isinstance(held := getattr(type(self), name, None), property) and held.fset is not None:
            held.fset(self, value)
        elif SETTLING in table:
            _settle(table, name, value)
        elif isinstance(value, nn.Module):
            table["_modules"][name] = value
            setattr(of, name, value.__dict__.get(OF, value))
        else:
            if STATE in table:
                table[name] = value
                if not table["training"] and name in table.get(READ, ()):
                    return  # a cache computed from the task's tensors
            elif name in table:
                table[name] = value
            if left.is_state(value) and not torch.compiler.is_compiling():
                left.write(of, name, value, name in table[ASKED])
            else:
                setattr(of, name, value)

    def __delattr__(self, name: str) -> None:
        table = self.__dict__
        if OF not in table:
            super().__delattr__(name)
        elif name in table:
            del table[name]
        elif SETTLING not in table:
            delattr(table[OF], name)

    def get_parameter(self, target: str) -> Any:
        """The tensor of that name; the task's, if the task changes it."""
        path, _, name = target.rpartition(".")
        module: Any = self.get_submodule(path)  # type: ignore[attr-defined]
        if OF not in self.__dict__ or name not in module._parameters:
            return super().get_parameter(target)  # type: ignore[misc]
        return getattr(module, name)

    def register_buffer(self, name: str, tensor: torch.Tensor | None, persistent: bool = True) -> None:
        """Registers a buffer; one that is the backbone's state, or exchanges numbers that a pass left, is refused."""
        table = self.__dict__
        held = table["_buffers"].get(name) if OF in table else tensor
        computed = tensor is not None and (held is None or name in table.get(LEFT, ())) and not persistent
        if tensor is not held and not computed and (persistent or (tensor is not None and _rewrites(held, tensor))):
            raise writes(table[PATH], table[OF], name, table["training"])
        if SETTLING in table:
            _settle(table, name, tensor)
        elif computed and not torch.compiler.is_compiling():  # by this pass, for its tasks
            left.write(table[OF], name, tensor, name in table[ASKED], _register)
        else:
            super().register_buffer(name, tensor, persistent)  # type: ignore[misc]

    def __hash__(self) -> int:
        of = self.__dict__.get(OF)
        return object.__hash__(self) if of is None else hash(of)

    def __eq__(self, other: object) -> bool:
        """A proxy equals the user's module, so that dicts keyed by module find it."""
        mine = self.__dict__.get(OF)
        return self is other or (mine is not None and mine is getattr(other, "__dict__", {}).get(OF, other))


def _own(table: dict[str, Any], name: str, value: Any) -> Any:
    """An attribute's value for the tasks that run."""
    value, written = left.read(table[OF], name, value, SETTLING in table) if table[LEFT] else (value, False)
    if not written:
        table[ASKED].add(name)
    if SETTLING in table and value is not left.GONE and (written or type(value) is torch.Tensor or is_array(value)):
        _settle(table, name, value := own_copy(value, {}))  # the pass may write into it
    return value


def _settle(table: dict[str, Any], name: str, value: Any) -> None:
    """Sets an attribute of a proxy that keeps its writes, and of its twin; of the user's module where hooks use it."""
    if table[SETTLING] and type(value) not in (bool, int, float, str):
        table[OF].__dict__[name] = value
        return
    table[name] = value
    if (twin := table.get(TWIN)) is not None:
        twin[name] = value


def _rewrites(held: torch.Tensor | None, tensor: torch.Tensor) -> bool:
    """Whether a tensor has other numbers than the one in whose place it comes; a longer table has another shape."""
    return held is not None and held.shape == tensor.shape and not torch.equal(held, tensor.to(held))


def _begun(table: dict[str, Any], name: str, value: Any) -> Any:
    """An attribute's value for a task: empty if it is a cache, which is None at first and read before it is written."""
    fresh = table[FRESH]
    if value is None:
        fresh[name] = None
    if name in fresh:
        table.setdefault(READ, set()).add(name)
        return fresh[name]
    return value


def _replace(table: dict[str, Any], name: str, value: Any) -> None:
    """Replaces a tensor during a pass: writes the task's; a write to the backbone's is refused."""
    held = table["_parameters"] if name in table["_parameters"] else table["_buffers"]
    if name in held and held[name] is value:
        return
    mine = table.get(STATE, {}).get(name)
    if mine is not None:
        with torch.no_grad():
            mine.copy_(value)
        return
    if SETTLING in table:
        table[name] = value
        return
    raise writes(table[PATH], table[OF], name, table["training"])


def writes(path: str, module: nn.Module, name: str, training: bool) -> StateError:
    """The error for a layer that writes a tensor of the backbone."""
    if name in module._parameters:
        remedy = (
            "write it once before the model is made (what limits it, say), and put a layer that leaves it alone in its "
            "place"
        )
    elif training:
        first = "" if module.training else "model.backbone.train(), "
        remedy = f"keep it in evaluation: {first}model.train(), then model.backbone.get_submodule({path!r}).eval()"
    else:
        remedy = "switch that off before the model is made, or put a layer without it in its place"
    return StateError(
        f"layer {path!r} ({type(module).__name__}) writes the backbone's tensor {name!r} while it runs in "
        f"{'training' if training else 'evaluation'} mode, and a backbone is never written, since all tasks stand on "
        f"it; {remedy}"
    )


def class_of(kind: type[nn.Module], base: type[Proxy] = Proxy) -> type:
    """The proxy class for a module's class with its present attributes."""
    names = tuple(settings_of(kind))
    if (kind, base, names) not in _CLASSES:
        through = {name: _Through(kind, name) for name in names}
        body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, **through}
        made = types.new_class(kind.__name__, (base, kind), exec_body=lambda space: space.update(body))
        _CLASSES[kind, base, names] = made
    return _CLASSES[kind, base, names]


def proxy_of(module: nn.Module, path: str, base: type[Proxy] = Proxy) -> nn.Module:
    """A proxy without children."""
    made = object.__new__(class_of(type(module), base))
    table, theirs = made.__dict__, module.__dict__
    for name in SHARED:
        if name in theirs:
            table[name] = theirs[name]
    table.update(
        {
            OF: module,
            PATH: path,
            LEFT: left.states_of(module),
            ASKED: set(),
            "training": module.training,
            "_modules": {},
        }
    )
    return made


def settings_of(kind: type) -> list[str]:
    """The names of a class's plain attributes, which instances may override."""
    found: dict[str, None] = {}
    for one in kind.__mro__:
        for name, value in () if one in (nn.Module, object) else vars(one).items():
            if not (name.startswith("__") or callable(value) or hasattr(value, "__get__")):
                found[name] = None
    return list(found)


class _Through:
    """A descriptor that reads a plain class attribute from the user's module; no `__set__`: proxies may override it."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind, self.name = kind, name

    def __get__(self, module: nn.Module | None, owner: type) -> Any:
        value = getattr(self.kind if module is None else module.__dict__.get(OF, self.kind), self.name)
        if module is None or OF not in module.__dict__ or torch.compiler.is_compiling():
            return value
        if type(value) in left.SIMPLE:
            value = _own(module.__dict__, self.name, value)
            return getattr(self.kind, self.name) if value is left.GONE else value
        return value

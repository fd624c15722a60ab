"""Switches: values outside of a module's attributes that its forward reads (objects, classes, globals, closures)."""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor, nn

from ._hooks import installed
from ._inside import slots_of
from ._proxy import KEPT, SHARED
from ._rebound import content, global_names

PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum)
_LEAVES = (*PLAIN, Tensor, nn.Module, torch.dtype, torch.device)
_OWN = frozenset({*SHARED, *KEPT})
_DEPTH = 6
"""How deep objects are nested: `config.vision.blocks["first"].flags`; wrapped ones count twice."""
_CALLS = 4
"""How far functions that call others are followed."""
_LARGEST = 256
"""Most entries of a container of switches; larger containers are data."""
_MOST = 4_000
"""Most containers that are compared."""
_OPEN = frozenset({"types.SimpleNamespace", "argparse.Namespace"})
_CELL = attrgetter("cell_contents")


class _Held:
    """The values in a container, an object, a class or some variables when they were last noted."""

    __slots__ = ("of", "read", "values")

    def __init__(self, of: Any, read: Callable[[], Iterable[Any]]) -> None:
        self.of, self.read = of, read
        self.note()

    def note(self) -> None:
        self.values = tuple(self.now())

    def now(self) -> tuple[Any, ...]:
        try:
            return tuple(self.read())
        except (AttributeError, RuntimeError, ValueError):  # deleted, or being written by another thread
            return ()


class Switches:
    """Values by which a network's forward may choose a path, apart from plain attributes of its modules.

    They are: objects, dicts and lists that modules hold; plain values of these objects' classes; and the globals and
    closures that functions of the modules' classes read, with their contents. Functions and modules of torch and of
    Python are left out, and so are functions that installed packages call.

    Args:
        network: the user's.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.find()

    def find(self) -> None:
        """Searches the network again."""
        self.held = _Search(self.network).held

    def changed(self) -> bool:
        """Whether a value has changed since the last call."""
        found = nested = False
        for one in self.held:
            before = one.values
            try:
                now = tuple(one.read())
            except (AttributeError, RuntimeError, ValueError):
                now = one.now()
            if len(now) == len(before) and all(map(is_, now, before)):
                continue
            one.values = now
            other = differ(before, now)
            found = found or bool(other)
            nested = nested or not all(isinstance(value, PLAIN) for value in other)
        if nested:
            self.find()
        return found


def differ(before: Sequence[Any], now: Sequence[Any]) -> list[Any]:
    """The old and new values that differ; equal plain values do not."""
    if len(before) != len(now):
        return [*before, *now]
    return [value for old, new in zip(before, now, strict=True) if not same(old, new) for value in (old, new)]


def same(old: Any, new: Any) -> bool:
    """Whether two values are the same object, or equal plain values of one type."""
    return old is new or (type(old) is type(new) and isinstance(old, PLAIN) and old == new)


class _Search:
    """Searches a network for switches."""

    def __init__(self, network: nn.Module) -> None:
        self.held: list[_Held] = []
        self.known: set[int] = set()
        self.alive: list[Any] = []
        """References that keep the ids in `known` valid."""
        self.variables: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
        modules = list(network.modules())
        kinds = {one: None for kind in {type(module) for module in modules} for one in kind.__mro__}
        self.kinds = frozenset(kinds)
        for kind in kinds:
            if not foreign(kind.__module__):
                self._functions(kind, 0)
        for module in modules:
            for name, value in module.__dict__.items():
                if name not in _OWN:
                    self._value(value, 0, 0)
        for table, names in self.variables.values():
            self.held.append(_Held(table, functools.partial(map, table.get, tuple(names))))

    def _add(self, of: Any, read: Callable[[], Iterable[Any]]) -> Sequence[Any]:
        """Adds a container to those compared, and returns its values."""
        if len(self.held) >= _MOST:
            return ()
        self.held.append(one := _Held(of, read))
        return one.values

    def _new(self, value: Any) -> bool:
        if id(value) in self.known:
            return False
        self.known.add(id(value))
        self.alive.append(value)
        return True

    def _value(self, value: Any, depth: int, calls: int) -> None:
        if isinstance(value, _LEAVES) or depth > _DEPTH or not self._new(value):
            return
        if isinstance(value, types.MethodType):
            self._value(value.__self__, depth, calls)
            self._value(value.__func__, depth, calls)
        elif isinstance(value, types.FunctionType):
            self._function(value, depth, calls)
        elif isinstance(value, functools.partial):
            for one in (value.func, value.args, value.keywords):
                self._value(one, depth, calls)
        elif isinstance(value, type):
            self._class(value, calls)
        elif isinstance(inner := getattr(value, "__wrapped__", None), types.FunctionType):
            self._value(inner, depth, calls)
        elif not isinstance(value, types.ModuleType):
            self._object(value, depth, calls)

    def _object(self, value: Any, depth: int, calls: int) -> None:
        kind, inside = type(value), ()
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            if len(value) > _LARGEST:
                return
            if isinstance(value, dict):
                inside = self._add(value, functools.partial(chain.from_iterable, (value.values(), value.keys())))
            elif isinstance(value, (tuple, frozenset)):
                inside = tuple(value)
            else:
                inside = self._add(value, value.__iter__)
            for one in inside:
                self._value(one, depth + 1, calls)
        if foreign(kind.__module__) and f"{kind.__module__}.{kind.__qualname__}" not in _OPEN:
            return
        table = getattr(value, "__dict__", None)
        if isinstance(table, dict) and len(table) <= _LARGEST:
            inside = self._add(value, table.values)
            for one in inside:
                self._value(one, depth + 1, calls)
        if slots := [name for name in slots_of(value) if hasattr(value, name)]:
            for one in self._add(value, functools.partial(map, functools.partial(getattr, value), slots)):
                self._value(one, depth + 1, calls)
        self._value(kind, depth, calls)

    def _class(self, kind: type, calls: int) -> None:
        """Adds the values of a class, and what its functions read. `_watch` compares modules' classes."""
        if kind in self.kinds or issubclass(kind, nn.Module):
            return
        for one in kind.__mro__:
            if not theirs(one.__module__) and (one is kind or self._new(one)):
                self._add(one, vars(one).values)
                if calls < _CALLS:
                    self._functions(one, calls + 1)

    def _functions(self, kind: type, calls: int) -> None:
        for name, value in [*vars(kind).items()]:
            if name.startswith("__") and not callable(value):
                continue
            for function in _within(value):
                self._value(function, 0, calls)
            if not (callable(value) or hasattr(value, "__get__")):
                self._value(value, 1, calls)

    def _function(self, function: types.FunctionType, depth: int, calls: int) -> None:
        home, code = function.__globals__, function.__code__
        package = theirs(home.get("__name__", ""))
        held = [(cell, content(cell)) for cell in function.__closure__ or ()]
        cells = [cell for cell, value in held if not isinstance(value, (type, types.FunctionType))]
        if cells:
            self._add(cells, functools.partial(map, _CELL, cells))
        for value in (
            *(one for _, one in held),
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
        ):
            self._value(value, depth + 1, calls)
        if foreign(home.get("__name__", "")) or (package and calls):
            return
        for name in _names(code) if package else _read(code):  # for installed packages the faster, coarser way
            value = home.get(name)
            if isinstance(value, types.ModuleType):
                self._module(value, _names(code), depth, calls)
            elif not (callable(value) and (package or calls >= _CALLS)) and self._reads(home, name):
                self._value(value, depth + 1, calls + 1)

    def _module(self, module: types.ModuleType, names: Collection[str], depth: int, calls: int) -> None:
        """Adds variables of a user's module that a function reads as the module's attributes."""
        if theirs(module.__name__):
            return
        table = vars(module)
        for name in names:
            if self._reads(table, name):
                if isinstance(table[name], types.ModuleType):
                    self._module(table[name], names, depth, calls)
                elif not (callable(table[name]) and calls >= _CALLS):
                    self._value(table[name], depth + 1, calls + 1)

    def _reads(self, table: dict[str, Any], name: str) -> bool:
        """Whether a variable exists and is new here."""
        mine = self.variables.setdefault(id(table), (table, {}))[1]
        if name not in table or name in mine or name.startswith("__"):
            return False
        mine[name] = None
        return True


@functools.cache
def _read(code: types.CodeType) -> tuple[str, ...]:
    return tuple(dict.fromkeys(global_names(code)))


@functools.cache
def _names(code: types.CodeType) -> tuple[str, ...]:
    """The names in a function's code, inner functions included."""
    inner = (name for one in code.co_consts if isinstance(one, types.CodeType) for name in _names(one))
    return (*code.co_names, *inner)


def foreign(module: str) -> bool:
    """Whether a module belongs to torch, NumPy or Python's standard library."""
    root = module.partition(".")[0]
    return root in ("torch", "numpy", "") or root in sys.stdlib_module_names


def theirs(module: str) -> bool:
    """Whether a module is not the user's code."""
    return foreign(module) or installed(module.partition(".")[0])


def _within(value: Any) -> Iterator[Any]:
    """The functions behind a class's attribute."""
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    if isinstance(value, property):
        yield from (one for one in (value.fget, value.fset) if one is not None)
    elif isinstance(value, functools.cached_property):
        yield value.func
    elif isinstance(value, (types.FunctionType, functools.partial)) or hasattr(value, "__wrapped__"):
        yield value

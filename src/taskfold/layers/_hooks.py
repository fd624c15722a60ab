"""The user's hooks in a mixed batch: those that only look are served in one pass, those that change things are not."""

from __future__ import annotations

import sys
import sysconfig
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from functools import cache
from operator import is_
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.overrides import TorchFunctionMode

from ._listening import Go, Listener
from ._origin import storage_of, written
from ._path import OtherPathError
from ._proxy import OF, PATH
from ._selection import RowsUnknownError, running

BEFORE, BEHIND = "_forward_pre_hooks", "_forward_hooks"
Hooks = tuple[Any, ...]
_DEPTH = 6


class HookChangesError(RowsUnknownError):
    """A hook of the user's exchanges or writes what it is given: nobody has looked where it puts rows.

    Args:
        layer: the module that has the hook.
    """

    def __init__(self, layer: str) -> None:
        where = f"module {layer!r}" if layer else "the network"
        Exception.__init__(self, f"{where} has a hook that changes what it is given")
        self.layer, self.why = layer, "has a hook that changes what it is given"


@cache
def installed(name: str) -> bool:
    """Whether a package is an installed one, and not the user's own code."""
    file = getattr(sys.modules.get(name), "__file__", None)
    places = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return file is not None and any(Path(file).is_relative_to(place) for place in places)


def libraries(network: nn.Module) -> frozenset[str]:
    """The packages whose hooks a network needs: torch, Taskfold, and its own, where that is no code of the user's."""
    own = {type(module).__module__.partition(".")[0] for module in network.modules()}
    return frozenset({"torch", "taskfold", *filter(installed, own)})


def of_libraries(hook: Any, packages: Collection[str]) -> bool:
    """Whether the network's own library has put a hook there: the look has it too."""
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return module.partition(".")[0] in packages


class Registered:
    """The forward hooks that stand on a network's modules.

    Args:
        network: the user's.
    """

    def __init__(self, network: nn.Module) -> None:
        self.packages = libraries(network)
        self.tables = [table for m in network.modules() for table in (m._forward_pre_hooks, m._forward_hooks)]

    def now(self) -> tuple[Hooks, Hooks]:
        """Those of the user's that are registered now; and those that run in the look too, all modules' among them."""
        everywhere = *torch_modules._global_forward_pre_hooks.values(), *torch_modules._global_forward_hooks.values()
        if not any(self.tables):
            return (), everywhere
        every = [hook for table in self.tables for hook in table.values()]
        mine = tuple([hook for hook in every if not of_libraries(hook, self.packages)])
        return mine, (*everywhere, *(hook for hook in every if of_libraries(hook, self.packages)))


def are(hooks: Hooks, others: Hooks) -> bool:
    """Whether hooks are the same ones."""
    return len(hooks) == len(others) and all(map(is_, hooks, others))


class Heard(threading.local):
    """The mixed pass of this thread that is listened to."""

    def __init__(self) -> None:
        self.within = False
        self.error: HookChangesError | None = None


_heard = Heard()


class hearing:
    """Run a mixed pass on a skeleton whose hooks are heard.

    Raises:
        HookChangesError: at the end of the block, also where the network has caught it on its way.
    """

    def __enter__(self) -> None:
        self.before = _heard.within, _heard.error
        _heard.within, _heard.error = True, None

    def __exit__(self, kind: Any, *_: object) -> None:
        error = _heard.error
        _heard.within, _heard.error = self.before
        if error is not None and (kind is None or not issubclass(kind, RowsUnknownError)):
            raise error


class Table(MutableMapping[int, Any]):
    """A module's hooks as they stand now, each of the user's heard; what is registered here is registered there.

    Args:
        of: the module's own table.
        path: the module's name.
        before: they run before the module.
        packages: whose hooks are left alone.
    """

    kept: ClassVar[dict[int, Table]] = {}
    """Tables through which a hook was registered that stands: its handle refers to them weakly."""

    def __init__(self, of: Any, path: str, before: bool, packages: Collection[str]) -> None:
        self.of, self.path, self.before, self.packages = of, path, before, packages

    def __getitem__(self, key: int) -> Any:
        hook = self.of[key]
        return hook if of_libraries(hook, self.packages) else heard(hook, self.path, self.before)

    def __setitem__(self, key: int, hook: Any) -> None:
        self.of[key] = hook
        Table.kept[key] = self

    def __delitem__(self, key: int) -> None:
        del self.of[key]
        Table.kept.pop(key, None)

    def __iter__(self) -> Iterator[int]:
        return iter(self.of)

    def __len__(self) -> int:
        return len(self.of)

    def move_to_end(self, key: int, last: bool = True) -> None:
        """As of an ordered dict."""
        self.of.move_to_end(key, last)


def listen(proxy: nn.Module, packages: Collection[str]) -> None:
    """From now on the hooks of a module of a skeleton are heard."""
    table = proxy.__dict__
    if OF in table:
        for name in (BEFORE, BEHIND):
            table[name] = Table(table[name], table[PATH], name == BEFORE, packages)


def heard(hook: Callable[..., Any], path: str, before: bool) -> Callable[..., Any]:
    """A hook that tells when it changes what it is given, in a pass for several tasks.

    Args:
        hook: the user's.
        path: of the module.
        before: the hook runs before the module.
    """

    def run(module: nn.Module, *given: Any) -> Any:
        now = running()
        if not _heard.within or _heard.error is not None or now is None or now.rows is None:
            return hook(module, *given)
        content = list(_content(given))
        with _Writes(content) as writes, _Lent() as lent:
            said = hook(module, *given)
        exchanged = said is not None and not _same(list(_content(said)), list(_content(_replaced(said, given, before))))
        changes = writes.found or lent.written() or exchanged or not _same(content, list(_content(given)))
        if changes and not isinstance(sys.exc_info()[1], OtherPathError):
            _heard.error = HookChangesError(path)
            raise _heard.error
        return said

    return run


def _replaced(said: Any, given: tuple[Any, ...], before: bool) -> Any:
    """What the module calls go on with if a hook says nothing: the output, or the inputs as the hook gives them."""
    if not before:
        return given[-1]
    args, *named = given
    if named:
        return given
    return args if isinstance(said, tuple) or len(args) != 1 else args[0]


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(_is, one, other))


def _is(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and isinstance(one, (int, float, str)) and one == other)


def _content(value: Any, depth: int = 0) -> Iterator[Any]:
    """What a value holds, and the kinds of its containers, in order."""
    if isinstance(value, dict):
        yield type(value)
        inside: Any = [one for item in value.items() for one in item]
    elif isinstance(value, (list, tuple)):
        yield type(value)
        yield len(value)
        inside = value
    else:
        yield value
        table = getattr(value, "__dict__", None)
        own = isinstance(table, dict) and not isinstance(value, (Tensor, nn.Module, type)) and not callable(value)
        inside = table.values() if own and table is not None else ()
    if depth < _DEPTH:
        for one in list(inside):
            yield from _content(one, depth + 1)


class _Writes(Listener):
    """Whether a hook writes a tensor that it was given, its memory or its shape.

    Args:
        given: what it was given, tensors among it.
    """

    def __init__(self, given: list[Any]) -> None:
        self.tensors = [one for one in given if isinstance(one, Tensor)]
        self.before = [_state(one) for one in self.tensors]
        self.places = {storage_of(one) for one in self.tensors} - {None}
        self.found = False

    def hear(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], go: Go) -> Any:
        self.found |= any(storage_of(one) in self.places for one in written(func, args, kwargs) if one.numel())
        return go(func, args, kwargs)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.found |= [_state(one) for one in self.tensors] != self.before


class _Lent(TorchFunctionMode):
    """Memory that a hook asks for to read or write it with something else than torch: as arrays of NumPy's."""

    NAMES = frozenset(("numpy", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "storage"))

    def __init__(self) -> None:
        super().__init__()
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.NAMES and isinstance(args[0], Tensor):
            mine = args[0].detach()
            self.before.append((mine, mine.clone()))
        return func(*args, **(kwargs or {}))

    def written(self) -> bool:
        """Whether numbers are others than when they were asked for."""
        return not all(torch.allclose(now, old, rtol=0, atol=0, equal_nan=True) for now, old in self.before)


def _state(tensor: Tensor) -> tuple[Any, ...]:
    version = None if tensor.is_inference() else tensor._version
    return version, storage_of(tensor), tensor.shape

"""The user's hooks in mixed batches: hooks that change their arguments are detected, and rule out a common pass."""

from __future__ import annotations

import sys
import sysconfig
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from functools import cache
from operator import is_
from pathlib import Path
from typing import Any, ClassVar, Protocol

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
    """A user's hook on module `layer` writes its arguments or what the network reads, so that rows are unknown."""

    def __init__(self, layer: str, why: str = "changes what it is given") -> None:
        where = f"module {layer!r}" if layer else "the network"
        self.layer, self.why = layer, f"has a hook that {why}"
        Exception.__init__(self, f"{where} {self.why}")


class Written(Protocol):
    """What hooks write (see `Places`)."""

    def note(self) -> Any: ...

    def compare(self, before: Any, hook: str) -> None: ...

    def read(self) -> tuple[str, str] | None: ...


@cache
def installed(name: str) -> bool:
    """Whether a package lies in site-packages, and so is not the user's own code."""
    file = getattr(sys.modules.get(name), "__file__", None)
    places = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    return file is not None and any(Path(file).is_relative_to(place) for place in places)


def libraries(network: nn.Module) -> frozenset[str]:
    """The packages whose hooks a network depends on: torch, Taskfold, and its own package if that is installed."""
    own = {type(module).__module__.partition(".")[0] for module in network.modules()}
    return frozenset({"torch", "taskfold", *filter(installed, own)})


def of_libraries(hook: Any, packages: Collection[str]) -> bool:
    """Whether one of the packages has registered a hook: passes that locate rows run it too."""
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return module.partition(".")[0] in packages


class Registered:
    """The forward hooks registered on the modules of the user's network."""

    def __init__(self, network: nn.Module) -> None:
        self.packages = libraries(network)
        self.tables = [table for m in network.modules() for table in (m._forward_pre_hooks, m._forward_hooks)]

    def now(self) -> tuple[Hooks, Hooks]:
        """The user's hooks; and the hooks that also run in passes that locate rows (libraries' and global ones)."""
        everywhere = *torch_modules._global_forward_pre_hooks.values(), *torch_modules._global_forward_hooks.values()
        if not any(self.tables):
            return (), everywhere
        every = [hook for table in self.tables for hook in table.values()]
        mine = tuple([hook for hook in every if not of_libraries(hook, self.packages)])
        return mine, (*everywhere, *(hook for hook in every if of_libraries(hook, self.packages)))


def are(hooks: Collection[Any], others: Collection[Any]) -> bool:
    """Whether two collections have the same objects, in one order."""
    return len(hooks) == len(others) and all(map(is_, hooks, others))


class Heard(threading.local):
    """Per thread: what hooks write in a mixed pass that runs with observed hooks, and the first hook's error."""

    def __init__(self) -> None:
        self.within: Written | None = None
        self.error: HookChangesError | None = None


_heard = Heard()


class hearing:
    """Run a mixed pass on a skeleton and observe its hooks.

    Args:
        places: where hooks may write something that the network reads.

    Raises:
        HookChangesError: a hook changes its arguments, or what the network reads; raised at the end of the block if the
            network has caught it.
    """

    def __init__(self, places: Written) -> None:
        self.places = places

    def __enter__(self) -> None:
        self.before = _heard.within, _heard.error
        _heard.within, _heard.error = self.places, None

    def __exit__(self, kind: Any, *_: object) -> None:
        error = _heard.error
        _heard.within, _heard.error = self.before
        if kind is not None and issubclass(kind, RowsUnknownError):
            return
        if error is None and (found := self.places.read()) is not None:
            error = HookChangesError(found[0], f"writes what the network reads ({found[1]})")
        if error is not None:
            raise error


class Table(MutableMapping[int, Any]):
    """A live view of a module's table of hooks, with the user's hooks wrapped by `heard`; writes go to the table.

    Args:
        of: the module's own table.
        path: the module's name.
        before: the hooks run before the module.
        packages: whose hooks are not wrapped.
    """

    kept: ClassVar[dict[int, Table]] = {}
    """Keeps tables with registered hooks alive: a hook's handle refers to them weakly."""

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
        self.of.move_to_end(key, last)


def listen(proxy: nn.Module, packages: Collection[str]) -> None:
    """Wraps the user's hooks of a skeleton's module, present and future."""
    table = proxy.__dict__
    if OF in table:
        for name in (BEFORE, BEHIND):
            table[name] = Table(table[name], table[PATH], name == BEFORE, packages)


def heard(hook: Callable[..., Any], path: str, before: bool) -> Callable[..., Any]:
    """Wraps a user's hook on module `path`: in a mixed pass it raises if the hook changes its arguments."""

    def run(module: nn.Module, *given: Any) -> Any:
        now = running()
        places = _heard.within
        if places is None or _heard.error is not None or now is None or now.rows is None:
            return hook(module, *given)
        content, before_it = list(_content(given)), places.note()
        with _Writes(content) as writes, _Lent() as lent:
            said = hook(module, *given)
        places.compare(before_it, path)
        exchanged = said is not None and not _same(list(_content(said)), list(_content(_replaced(said, given, before))))
        changes = writes.found or lent.written() or exchanged or not _same(content, list(_content(given)))
        if changes and not isinstance(sys.exc_info()[1], OtherPathError):
            _heard.error = HookChangesError(path)
            raise _heard.error
        return said

    return run


def _replaced(said: Any, given: tuple[Any, ...], before: bool) -> Any:
    """The values that a hook's result `said` replaces: the output, or the inputs in the form of `said`."""
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
    """The leaves of a value and the types of its containers, in order."""
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
    """Detects writes to the memory or shape of the tensors in `given`, a hook's arguments."""

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
    """Detects writes outside of torch to memory that a hook asks for (a NumPy array, say), by comparison."""

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
        """Whether values have changed since their memory was asked for."""
        return not all(torch.allclose(now, old, rtol=0, atol=0, equal_nan=True) for now, old in self.before)


def _state(tensor: Tensor) -> tuple[Any, ...]:
    version = None if tensor.is_inference() else tensor._version
    return version, storage_of(tensor), tensor.shape

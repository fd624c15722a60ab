"""Reads of adapted layers' tensors by other code: a module that uses its child's weight, a hook."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..kinds import lend
from ._proxy import EXCHANGING, OF, Proxy, writes
from ._selection import RowsUnknownError, Selection, running

SAID: frozenset[Any] = frozenset(
    {
        *(
            getattr(Tensor, name).__get__
            for name in ("dtype", "device", "shape", "ndim", "layout", "is_meta", "is_cuda")
        ),
        *(getattr(Tensor, name) for name in ("size", "dim", "numel", "is_floating_point", "element_size", "__len__")),
        torch.is_floating_point,
        torch.numel,
    }
)


class Reader(Protocol):
    """An observer of reads."""

    def knows(self, path: str, name: str) -> bool:
        """Whether the observer ignores reads of this tensor."""
        ...

    def reads(self, path: str, name: str, now: Selection) -> None:
        """Called when code computes with a tensor that it read from a layer in a pass."""
        ...


class _Telling(threading.local):
    def __init__(self) -> None:
        self.reader: Reader | None = None


_telling = _Telling()


@contextmanager
def telling(reader: Reader) -> Iterator[None]:
    """Run a block whose reads are reported to `reader`."""
    before, _telling.reader = _telling.reader, reader
    try:
        yield
    finally:
        _telling.reader = before


class Read(Proxy):
    """The proxy of an adapted layer: reads of its tensors give those of the pass's task."""

    def __getattr__(self, name: str) -> Any:
        table = self.__dict__
        if OF in table and (name in table["_parameters"] or name in table["_buffers"]):
            own = table["_parameters"].get(name, table["_buffers"].get(name))
            now, site = running(), table.get("forward")
            if now is None or site is None or own is None:
                return own
            adapted = now.noting is None and site.path in now.answers.paths
            if torch.compiler.is_compiling():
                if site.calls is not None:
                    site.calls.gives(site, name)
                if not adapted:
                    return own
                return _resolved(site, now, name) if now.rows is None and now.spread is None else _Said(own)
            reader = _telling.reader
            if not adapted and (reader is None or reader.knows(site.path, name)):
                return own
            return _Lazy.of((site, now, name), own)
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        now, site = running(), self.__dict__.get("forward")
        if now is not None and site is not None and site.path in now.answers.paths and name != "training":
            now.left.setdefault(site.path, {})[name] = value


class _Lazy(Tensor):
    """A stand-in for a layer's tensor that is resolved when code computes with it, not when it asks for its type."""

    source: tuple[Any, Selection, str]
    held: tuple[Selection, bool, Tensor | None] | None

    @classmethod
    def of(cls, source: tuple[Any, Selection, str], own: Tensor) -> _Lazy:
        made = torch.Tensor._make_subclass(cls, own.detach())
        vars(made).update(vars(own), source=source, held=None)
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if not hasattr(Tensor, name):  # a mark on the layer's own tensor
            site, _, own = self.source
            setattr(_plain(site, own), name, value)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in EXCHANGING and isinstance(args[0], _Lazy):
            site, now, name = args[0].source
            raise writes(site.path, site.module.__dict__[OF], name, now.training)
        if func in SAID:
            return super().__torch_function__(func, types, args, kwargs or {})
        args, kwargs = tree_map(_made, (tuple(args), kwargs or {}))
        return func(*args, **kwargs)


class _Said:
    """A stand-in while a compiler traces, for a tensor that differs by row: its type, device and shape alone."""

    def __init__(self, own: Tensor) -> None:
        self.dtype, self.device, self.shape = own.dtype, own.device, own.shape


def _made(value: Any) -> Any:
    if not isinstance(value, _Lazy):
        return value
    site, now, name = value.source
    if site.calls is not None:
        site.calls.gives(site, name)
    backward = torch._C._current_graph_task_id() != -1
    now = running() or (now if backward else None)  # outside of a pass the layer's own tensor is used
    if now is not None and (reader := _telling.reader) is not None and not reader.knows(site.path, name):
        reader.reads(site.path, name, now)
    if now is None or now.noting is not None or site.path not in now.answers.paths:
        return _plain(site, name)
    if torch._C._are_functorch_transforms_active():
        return _resolved(site, now, name)
    held = value.held
    if held is None or held[0] is not now or held[1] != torch.is_grad_enabled():
        held = vars(value)["held"] = now, torch.is_grad_enabled(), _resolved(site, now, name)
    return held[2]  # one tensor, by which a pass may differentiate


def _plain(site: Any, name: str) -> Tensor | None:
    return site.module._parameters.get(name, site.module._buffers.get(name))


def _resolved(site: Any, now: Selection, name: str) -> Tensor | None:
    """The task's tensor.

    Raises:
        RowsUnknownError: the tensor differs by row of a mixed batch.
        ValueError: the tensor differs by task or by row, or an intervention at the layer does not change tensors.
    """
    kind, site.ran = site.kind, True
    read = f"is not called: somebody reads its {name!r}"
    if now.rows is not None:
        raise RowsUnknownError(site.path, f"{read}, which is another for each row")
    words = f"layer {site.path!r} ({type(site.module).__name__}) {read}"
    if now.spread is not None or (now.training and now.answers.draws(site.path, kind, now)):
        raise ValueError(
            f"{words}, which is another for each row; run one task at a time, or leave the layer out with "
            f"targets=('*', '!{site.path}')"
        )
    tensors: dict[str, Tensor] = {}
    own = kind.tensors()
    for intervention, mine in now.answers.stack(site.path, kind, now):
        try:
            tensors |= intervention.folded(kind, mine, {**own, **tensors})
        except ValueError as error:
            raise ValueError(f"{words}, and {error}; leave it out with targets=('*', '!{site.path}')") from None
    found = tensors.get(name, _plain(site, name))
    if name in site.module._parameters:
        lend(site.module, name, found, keep=True)
    return found

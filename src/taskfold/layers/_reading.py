"""A layer's tensors, read by somebody else: a module that uses its child's weight, a hook."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ._proxy import OF, Proxy
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


class Read(Proxy):
    """A layer that tasks adapt, as others see it: its tensors are those of the task that the pass is for."""

    def __getattr__(self, name: str) -> Any:
        table = self.__dict__
        if OF in table and (name in table["_parameters"] or name in table["_buffers"]):
            own = table["_parameters"].get(name, table["_buffers"].get(name))
            now, site = running(), table.get("forward")
            if now is None or now.noting is not None or site is None or site.path not in now.answers.paths:
                return own
            if torch.compiler.is_compiling():
                if own is None or (now.rows is None and now.spread is None):
                    return _resolved(site, now, name)
                return _Said(own)
            return _Lazy.of(site, now, name, own) if own is not None else own
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        now, site = running(), self.__dict__.get("forward")
        if now is not None and site is not None and site.path in now.answers.paths and name != "training":
            now.left.setdefault(site.path, {})[name] = value


class _Lazy(Tensor):
    """The task's tensor, made when somebody computes with it, and not when its type is asked."""

    source: tuple[Any, Selection, str]

    @classmethod
    def of(cls, site: Any, now: Selection, name: str, own: Tensor) -> _Lazy:
        made = torch.Tensor._make_subclass(cls, own.detach())
        made.source = site, now, name
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SAID:
            return super().__torch_function__(func, types, args, kwargs or {})
        args, kwargs = tree_map(_made, (tuple(args), kwargs or {}))
        return func(*args, **kwargs)


class _Said:
    """What may be asked of a tensor that is another for each row, while a compiler traces; nothing computes with it."""

    def __init__(self, own: Tensor) -> None:
        self.dtype, self.device, self.shape = own.dtype, own.device, own.shape


def _made(value: Any) -> Any:
    return _resolved(*value.source) if isinstance(value, _Lazy) else value


def _resolved(site: Any, now: Selection, name: str) -> Tensor | None:
    """The task's tensor.

    Raises:
        RowsUnknownError: each row of a mixed batch has another one.
        ValueError: there is none that serves all rows, or what a task does at the layer is no change of tensors.
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
    return tensors.get(name, site.module._parameters.get(name, site.module._buffers.get(name)))

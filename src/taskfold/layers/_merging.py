"""Refuses modules whose `train()` computes with adapted layers' tensors: the result would be the backbone's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ..refusals import UnfitError
from ._proxy import OF
from ._reading import SAID

_FLAGS: frozenset[Any] = frozenset(
    {
        Tensor.requires_grad_,
        *(getattr(Tensor, name).__get__ for name in ("requires_grad", "grad", "is_leaf")),
        *(getattr(Tensor, name).__set__ for name in ("requires_grad", "grad")),
    }
)


class Merging(TorchFunctionMode):
    """Watches modules' own `train()` methods in a block.

    Args:
        made: the modules of a skeleton, by path.
        paths: of the adapted layers.

    Raises:
        TypeError: at the end of the block, if a module has made tensors from an adapted layer's.
    """

    def __init__(self, made: Mapping[str, nn.Module], paths: Iterable[str]) -> None:
        super().__init__()
        modules = {path: module for path, module in made.items() if OF in module.__dict__}
        self.own = {path: one for path, one in modules.items() if type(one).train is not nn.Module.train}
        # An adapted layer's own `train()` runs again for each task's tensors.
        adapted = {path: modules[path] for path in paths if path in modules and path not in self.own}
        self.adapted = {
            id(tensor): path
            for path, one in adapted.items()
            for tensor in (*one._parameters.values(), *one._buffers.values())
            if tensor is not None
        }
        self.used: dict[str, None] = {}

    def __enter__(self) -> Merging:
        self.before = {path: dict(one.__dict__) for path, one in self.own.items()}
        if self.own:
            super().__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.own:
            super().__exit__(kind, error, trace)
        if error is None:
            self._check()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in SAID and func not in _FLAGS:
            self._note((args, kwargs))
        return func(*args, **(kwargs or {}))

    def _note(self, values: Any) -> None:
        self.used |= {self.adapted[id(one)]: None for one in tree_leaves(values) if id(one) in self.adapted}

    def _check(self) -> None:
        for path, module in self.own.items():
            before = self.before[path]
            written = {name: new for name, new in module.__dict__.items() if new is not before.get(name)}
            made = [
                name
                for name, value in written.items()
                if any(isinstance(leaf, (torch.Tensor, nn.Module)) for leaf in tree_leaves(value))
            ]
            self._note([written[name] for name in made])
            if made and self.used:
                layer, kind = next(iter(self.used)), type(module).__name__
                where = f"module {path!r} ({kind})" if path else f"the network ({kind})"
                raise UnfitError(
                    f"{where} makes {made[0]!r} of tensors of layer {layer!r} in its train(), which would be the "
                    f"backbone's for every task; make it in forward, or leave the layer out with "
                    f"targets=('*', '!{layer}')"
                )

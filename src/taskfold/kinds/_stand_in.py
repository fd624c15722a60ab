"""The same module with other tensors, without touching the module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
Lending = Callable[[nn.Module, str, Tensor, bool], None]
"""Is told of a module, of a parameter that stands in place of its own, and whether nobody else keeps that."""


class _Told(threading.local):
    def __init__(self) -> None:
        self.tell: Lending | None = None


_told = _Told()


@contextmanager
def lent(tell: Lending) -> Iterator[None]:
    """Run a block in which somebody is told of the parameters that modules are lent."""
    before, _told.tell = _told.tell, tell
    try:
        yield
    finally:
        _told.tell = before


def lend(module: nn.Module, name: str, tensor: Tensor | None, keep: bool = False) -> None:
    """Tell whoever listens of a parameter that stands in place of a module's own."""
    if not torch.compiler.is_compiling() and _told.tell is not None and tensor is not None:
        _told.tell(module, name, tensor, keep)


def stand_in(module: M, state: Mapping[str, Tensor | None], /, **attributes: object) -> M:
    """A shallow twin of `module` that computes with `state` in place of its own tensors.

    Unlike `torch.func.functional_call` nothing is swapped in the module itself, so threads can use one
    module with different tensors at once. The module's own forward runs, whatever subclass it is.

    Args:
        module: any module; it is not changed.
        state: parameter or buffer name (dotted for children) → tensor, or None for "absent".
        attributes: other attributes to replace (`groups=4`).

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 2)
        >>> twin = stand_in(layer, {"weight": torch.eye(2), "bias": None})
        >>> twin.forward(torch.tensor([3.0, 4.0])).tolist()
        [3.0, 4.0]
    """
    twin = object.__new__(type(module))
    # Item by item: torch.compile follows that, and no method of __dict__.
    twin.__dict__ = {name: value for name, value in module.__dict__.items() if name != "forward"}
    twin.__dict__.update(attributes)
    mine: dict[str, dict[str, Tensor | None]] = {"_parameters": {}, "_buffers": {}}
    children: dict[str, dict[str, Tensor | None]] = {}
    for name, tensor in state.items():
        child, _, rest = name.partition(".")
        if not rest and name not in module._parameters and name not in module._buffers:
            raise ValueError(f"{type(module).__name__} has no tensor {name!r} that another could take the place of")
        if rest:
            children.setdefault(child, {})[rest] = tensor
        else:
            mine["_buffers" if name in module._buffers else "_parameters"][name] = tensor
    for kind, tensors in mine.items():
        if tensors:
            twin.__dict__[kind] = module.__dict__[kind] | tensors
    for name, tensor in mine["_parameters"].items():
        lend(module, name, tensor)
    if state and "_proxied" in twin.__dict__:
        _begin(twin, state)
    if children:
        twins = {name: stand_in(module._modules[name], rest) for name, rest in children.items()}  # type: ignore[type-var]
        twin.__dict__["_modules"] = module._modules | twins
    return twin


def _begin(twin: nn.Module, state: Mapping[str, Tensor | None]) -> None:
    """What a module of the skeleton keeps of its tensors is not that of others: caches are empty, modes taken anew."""
    table = twin.__dict__
    table["_state"] = state
    if not table["training"]:
        table.update({name: {} for name, value in table["_fresh"].items() if value is not None})
    if type(twin).train is not nn.Module.train:
        children = table["_modules"]
        table["_settling"], table["_modules"] = True, {name: _aside(child) for name, child in children.items()}
        twin.train(table["training"])
        del table["_settling"]
        table["_modules"] = children


def _aside(module: nn.Module | None) -> nn.Module | None:
    """A twin whose mode nobody sees."""
    if module is None:
        return None
    twin = stand_in(module, {})
    twin.__dict__["_settling"] = True
    twin.__dict__["_modules"] = {name: _aside(child) for name, child in module._modules.items()}
    return twin


def unshared(module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], bool]:
    """Tensors for a pass that trains, which may write to buffers; and whether it may: statistics must be a task's own.

    Buffers that are no statistics, such as what is counted, are copies then.
    """
    held = {name: buffer for name, buffer in module._buffers.items() if buffer is not None and name not in tensors}
    if any(buffer.is_floating_point() for buffer in held.values()):
        return tensors, False
    return {**{name: buffer.clone() for name, buffer in held.items()}, **tensors}, True

"""Stand-ins: twins of a module with other tensors, which leave the module unchanged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
Lending = Callable[[nn.Module, str, Tensor, bool], None]
"""Called with a module, a parameter's name, the tensor in its place, and whether to keep that tensor alive."""


class _Told(threading.local):
    def __init__(self) -> None:
        self.tell: Lending | None = None


_told = _Told()


@contextmanager
def lent(tell: Lending) -> Iterator[None]:
    """Run a block in which `tell` is called for each parameter that is lent to a module."""
    before, _told.tell = _told.tell, tell
    try:
        yield
    finally:
        _told.tell = before


def lend(module: nn.Module, name: str, tensor: Tensor | None, keep: bool = False) -> None:
    """Reports a tensor that stands in place of a module's parameter to the innermost `lent` block."""
    if not torch.compiler.is_compiling() and _told.tell is not None and tensor is not None:
        _told.tell(module, name, tensor, keep)


def stand_in(module: M, state: Mapping[str, Tensor | None], /, **attributes: object) -> M:
    """A shallow twin of `module` that computes with `state` in place of its own tensors.

    Unlike `torch.func.functional_call` it does not write the module, so threads can use one module with different
    tensors at once. The twin runs the module's own forward, also a subclass's.

    Args:
        module: any module; it does not change.
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
    # Item by item: torch.compile supports no methods of __dict__ here.
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
    """Resets a twin of a skeleton's module for other tensors: empties its caches, and runs its own `train()`."""
    table = twin.__dict__
    table["_state"] = state
    if not table["training"]:
        table.update({name: {} for name, value in table["_fresh"].items() if value is not None})
    if type(twin).train is not nn.Module.train:
        children = table["_modules"]
        table["_settling"], table["_modules"] = False, {name: _aside(child) for name, child in children.items()}
        twin.train(table["training"])
        del table["_settling"]
        table["_modules"] = children


def _aside(module: nn.Module | None) -> nn.Module | None:
    """A twin whose writes stay in the twin."""
    if module is None:
        return None
    twin = stand_in(module, {})
    twin.__dict__["_settling"] = False
    twin.__dict__["_modules"] = {name: _aside(child) for name, child in module._modules.items()}
    return twin


def unshared(module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], bool]:
    """Tensors for a training pass, and whether it may run in training mode: not if it would write shared statistics.

    Integer buffers (counters) that the task lacks are copied.
    """
    held = {name: buffer for name, buffer in module._buffers.items() if buffer is not None and name not in tensors}
    if any(buffer.is_floating_point() for buffer in held.values()):
        return tensors, False
    return {**{name: buffer.clone() for name, buffer in held.items()}, **tensors}, True

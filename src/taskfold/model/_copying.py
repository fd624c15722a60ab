"""Deep copies of networks whose modules keep tensors between passes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from ..layers import GONE, caches, first_states, inside, kept_of, rebind

M = TypeVar("M", bound=nn.Module)


def copied(network: M, begun: Mapping[str, Mapping[str, Any]]) -> M:
    """A deep copy with empty caches and detached tensors; `begun`: attributes that were None at first, by path."""
    twin = copy.deepcopy(network, detached(network))
    rebind(network, twin)
    for path, empty in begun.items():
        twin.get_submodule(path).__dict__.update(empty)
    for module in twin.modules():
        module.__dict__.update(caches(module))
    for path, module in network.named_modules():
        for name, first in first_states(module).items():
            _set(twin.get_submodule(path), name, first)
    return twin


def _set(module: nn.Module, name: str, value: Any) -> None:
    held = module._buffers if name in module._buffers else module.__dict__
    if value is GONE:
        held.pop(name, None)
    else:
        held[name] = copy.deepcopy(value)


def detached(network: nn.Module) -> dict[int, Any]:
    """A memo for `copy.deepcopy` with detached copies of tensors that modules keep with a graph."""
    kept = [tensor for module in network.modules() for _, value in kept_of(module) for tensor in inside(value)]
    return {id(one): one.detach().clone() for one in kept if one.grad_fn is not None}

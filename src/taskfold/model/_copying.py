"""Copies of networks, whatever their modules keep between passes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from ..layers import caches, rebind

M = TypeVar("M", bound=nn.Module)


def copied(network: M, begun: Mapping[str, Mapping[str, Any]]) -> M:
    """A deep copy; tensors with a graph that modules keep are detached, and caches are empty.

    Args:
        network: it stays as it is.
        begun: attributes that held nothing at first, by path.
    """
    twin = copy.deepcopy(network, detached(network))
    rebind(network, twin)
    for path, empty in begun.items():
        twin.get_submodule(path).__dict__.update(empty)
    for module in twin.modules():
        module.__dict__.update(caches(module))
    return twin


def detached(network: nn.Module) -> dict[int, Any]:
    """What modules keep with a graph, as `copy.deepcopy` is to take it."""
    return {id(one): one.detach().clone() for module in network.modules() for one in _graphs(module.__dict__)}


def _graphs(value: object, depth: int = 0) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            yield value
    elif isinstance(value, (dict, list, tuple)) and depth < 3:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _graphs(one, depth + 1)

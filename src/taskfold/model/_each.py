"""Isolates passes of several tasks on one batch: each gets the same inputs and module state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..layers import PLAIN, is_kept, kept_of, states_as_before
from ._rows import copied


def own_inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A copy of a pass's inputs, for passes that write to tensors or caches; equal objects stay one object."""
    if torch.compiler.is_compiling():
        return args, dict(kwargs)
    made: dict[int, Any] = {}

    def own(value: Any) -> Any:
        if isinstance(value, PLAIN):
            return value
        if id(value) not in made:
            made[id(value)] = copied(value)
        return made[id(value)]

    return tuple(map(own, args)), {name: own(value) for name, value in kwargs.items()}


@contextmanager
def own_state(network: nn.Module) -> Iterator[None]:
    """Run a block and restore what modules keep in attributes (hidden states, say), numbers and words excepted."""
    if torch.compiler.is_compiling():
        yield
        return
    before = [(module, dict(kept_of(module))) for module in network.modules()]
    with states_as_before(network):
        try:
            yield
        finally:
            for module, held in before:
                for name, value in [*kept_of(module)]:
                    if value is held.get(name) or (isinstance(value, PLAIN) and not is_kept(module, name)):
                        continue
                    if name in held:
                        module.__dict__[name] = held[name]
                    else:
                        del module.__dict__[name]

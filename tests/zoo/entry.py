"""A network of the zoo: its constructor, and its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 4
"""Rows of a batch."""
Inputs = Callable[[int, torch.Generator], Mapping[str, Any]]
"""Rows, random numbers → named inputs; `""` is a positional one."""


@dataclass(frozen=True)
class Entry:
    """A network of the zoo.

    Attributes:
        name: of the network, after the library that has it: `timm/levit_128s`.
        family: what it is for, or what it is made of.
        build: makes it, with random weights.
        inputs: makes a batch.
        wanted: makes what a training pass is given besides.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    inputs: Inputs
    wanted: Inputs | None = None

    def batch(self, seed: int, rows: int = ROWS, *, training: bool = False) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named inputs, always the same for a seed."""
        dice = torch.Generator().manual_seed(seed)
        given = dict(self.inputs(rows, dice))
        if training and self.wanted is not None:
            given |= self.wanted(rows, dice)
        return tuple(given.pop(name) for name in [""] if name in given), given


def shortened(network: nn.Module) -> nn.Module:
    """The network with two of the blocks that follow one another and are alike."""
    for module in list(network.modules()):
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and len(module) > 2:
            first, *rest = (_form(child) for child in list(module)[1:])
            if first[1] and all(form == first for form in rest):
                del module[2:]
    return network


def _form(block: nn.Module) -> tuple[type, list[torch.Size]]:
    return type(block), [p.shape for p in block.parameters()]


def picture(size: int = 64, channels: int = 3, name: str = "") -> Inputs:
    """`[rows, channels, size, size]`."""
    return lambda rows, dice: {name: torch.randn(rows, channels, size, size, generator=dice)}


def numbers(*shape: int, name: str = "") -> Inputs:
    """`[rows, *shape]`."""
    return lambda rows, dice: {name: torch.randn(rows, *shape, generator=dice)}


def words(rows: int, dice: torch.Generator, length: int = 9, low: int = 5, high: int = 60) -> Tensor:
    """Tokens, `[rows, length]`."""
    return torch.randint(low, high, (rows, length), generator=dice)


def text(length: int = 9, **more: Any) -> Inputs:
    """Tokens and a mask under which some rows are shorter."""

    def made(rows: int, dice: torch.Generator) -> dict[str, Any]:
        tokens, mask = words(rows, dice, length), torch.ones(rows, length, dtype=torch.long)
        mask[::2, -2:] = 0
        return {"input_ids": tokens, "attention_mask": mask, **more}

    return made


def both(*parts: Inputs, **more: Any) -> Inputs:
    """Several inputs at once."""

    def made(rows: int, dice: torch.Generator) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part in parts:
            found |= part(rows, dice)
        return found | more

    return made

"""Leaves: the tensors of factorisations and sharing rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from ._init import Start
from ._storage import Storage

Scope = Literal["layer", "block", "model"]


@dataclass(frozen=True)
class Group:
    """A group of a task's parameters, which are counted, trained and listed together.

    Attributes:
        name: its name in settings, counts, files and reports.
        lr: default learning rate; 0: the group holds running statistics, which are not trained.
    """

    name: str
    lr: float

    @property
    def trained(self) -> bool:
        return self.lr > 0


FACTORS = Group("factors", 1e-2)
WEIGHTS = Group("factors", 2e-4)
"""Whole weights that start as pretrained ones: beside them the rate of small factors ends a training."""
NORM = Group("norm", 5e-3)
HEAD = Group("head", 5e-3)
STATISTICS = Group("statistics", 0.0)
"""Running means and variances: buffers, never trained."""


def lowest_rates(groups: Iterable[Group]) -> dict[str, float]:
    """The default learning rate of each name: a group has one optimiser, so the lowest that its tensors name."""
    rates: dict[str, float] = {}
    for group in groups:
        rates[group.name] = min(group.lr, rates.get(group.name, group.lr))
    return rates


@dataclass(frozen=True)
class Leaf:
    """A tensor of numbers: its shape, the meaning of each axis, its initialisation, its group.

    Axes that sharing rules use: `term` (the summed terms), `order` (factors of an entangled product),
    `out…` and `inp…` (the layer's output and input dimensions).

    Attributes:
        shape: the sizes.
        axes: the meaning of each axis.
        start: initialises the tensor in place.
        group: its group.
        scope: the layers that share it: each has its own (`layer`), or all of a `block` or of the `model`.
        stored: its storage in files; None: by value.
        exact: it keeps its precision in layers of a lower one, since its level matters; `stored` implies this.
        dtype: its type; None: the layer's, at least single precision. Integers do not train.
        tie: for wider scopes the name under which layers share it; empty: the leaf's own.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    start: Start
    group: Group = FACTORS
    scope: Scope = "layer"
    stored: Storage | None = None
    dtype: torch.dtype | None = None
    tie: str = ""
    exact: bool = False

"""One tensor of numbers that a factorisation or a sharing rule asks for, and what it counts as."""

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
    """A kind of a task's numbers: they are counted, trained and listed together.

    Attributes:
        name: what settings, counts, files and reports call it.
        lr: default learning rate; 0: the group holds running statistics, which are not trained.
    """

    name: str
    lr: float

    @property
    def trained(self) -> bool:
        return self.lr > 0


FACTORS = Group("factors", 1e-2)
WEIGHTS = Group("factors", 3e-4)
"""Whole weights that start as pretrained ones: beside them the rate of small factors ends a training."""
NORM = Group("norm", 5e-3)
HEAD = Group("head", 5e-3)
STATISTICS = Group("statistics", 0.0)
"""Running means and variances: no parameters, never trained."""


def lowest_rates(groups: Iterable[Group]) -> dict[str, float]:
    """The default learning rate of each name: a group has one optimiser, so the lowest that its tensors name."""
    rates: dict[str, float] = {}
    for group in groups:
        rates[group.name] = min(group.lr, rates.get(group.name, group.lr))
    return rates


@dataclass(frozen=True)
class Leaf:
    """One tensor of numbers: its shape, the meaning of each axis, how it starts, what it counts as.

    Axes that sharing rules know: `term` (the terms that are summed), `order` (factors of an entangled product),
    `out…` and `inp…` (the layer's output and input dimensions).

    Attributes:
        shape: sizes.
        axes: the meaning of each.
        start: fills the tensor.
        group: what it counts as.
        scope: layers that have it in common: each its own (`layer`), those of a `block`, or all of the `model`.
        stored: how files keep it; None: by its values.
        exact: it keeps its precision in layers of a lower one, since its level counts; `stored` does so too.
        dtype: of its numbers; None: the layer's, in single precision at least. Whole numbers do not train.
        tie: of a wider scope: the name by which layers have it in common; empty: its own.
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

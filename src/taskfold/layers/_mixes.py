"""The recipes of channel mixing behind a layer: series adapters, and reparameterised convolutions (RCM)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..factors import STATISTICS, WEIGHTS, Group
from ..interventions import EPSILON, Mix
from ..kinds import LayerKind, Tensors, WeightKind
from ..tasks import Leaves, kept_in
from ._part import Part, When
from ._recipe import Fitting, Recipe
from ._where import Where

MIXED = Group("factors", 3e-5)
"""Mixing of all channels, which starts at the identity; steps of many layers behind one another multiply."""
SeriesInit = Literal["zero", "authors"]


class Serial(Part):
    """y + A · BN(y): `mix` is A; BN has γ, β and running statistics."""

    def __init__(self, own: Leaves) -> None:
        super().__init__(Mix(), own)

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        held: dict[str, Tensor] = dict(self.own.items())
        if when.training:
            return {name: tensor.to(kind.dtype) if name == "mix" else tensor for name, tensor in held.items()}
        scale = held["gamma"] * (held["var"] + EPSILON).rsqrt()
        shift = held["mix"] @ (held["beta"] - held["mean"] * scale)
        return {"mix": (held["mix"] * scale).to(kind.dtype), "shift": shift.to(kind.dtype)}


class Reparameterised(Part):
    """W_t y: `mix` is W_t; with a `gain` its rows are gain · row / ‖row‖."""

    def __init__(self, own: Leaves) -> None:
        super().__init__(Mix(), own)

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        made: Tensor = self.own["mix"]
        if "gain" in self.own:
            made = made * (self.own["gain"] / made.norm(dim=1)).unsqueeze(1)
        return {"mix": (made - torch.eye(len(made), device=made.device, dtype=made.dtype)).to(kind.dtype)}


@dataclass(frozen=True)
class SeriesAdapters(Recipe):
    """A normalisation and a 1×1 convolution of each layer's output, added to the output: C² + 2 C numbers.

    Args:
        where: the layers.
        init: `zero`: A = 0, the start is the backbone; `authors`: N(0, √(2 / C)).

    Raises:
        ValueError: `init` is unknown.
    """

    where: Where
    init: SeriesInit = "zero"

    def __post_init__(self) -> None:
        if self.init not in get_args(SeriesInit):
            raise ValueError(f"init={self.init!r} is not known; choose one of {', '.join(get_args(SeriesInit))}")

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for path, size, new in _layers(self.where, at):
            mix, one = new.expand(size, size).clone(), new.expand(size)
            if self.init == "authors":
                nn.init.normal_(mix, std=math.sqrt(2 / size))
            tensors = {
                "mix": nn.Parameter(mix),
                "gamma": nn.Parameter(one + 1),
                "beta": nn.Parameter(one.clone()),
                "mean": one.clone(),
                "var": one + 1,
            }
            groups = {name: WEIGHTS if isinstance(t, nn.Parameter) else STATISTICS for name, t in tensors.items()}
            yield path, "series", Serial(Leaves(tensors, groups))


@dataclass(frozen=True)
class Reparameterisations(Recipe):
    """A 1×1 convolution behind each layer, which starts at the identity: C² numbers.

    Args:
        where: the layers.
        normalised: split rows into a direction and a gain, C numbers more.
    """

    where: Where
    normalised: bool = False

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for path, size, new in _layers(self.where, at):
            tensors = {"mix": nn.Parameter(torch.eye(size, device=new.device, dtype=new.dtype))}
            if self.normalised:
                tensors["gain"] = nn.Parameter(new.expand(size) + 1)
            yield path, "mix", Reparameterised(Leaves(tensors, dict.fromkeys(tensors, MIXED)))


def _layers(where: Where, at: Fitting) -> Iterator[tuple[str, int, Tensor]]:
    """Each layer's path, its channels, and a zero of the task's type on the layer's device."""
    for target in where.find(at.network):
        kind = at.kind(target.path)
        assert isinstance(kind, WeightKind)
        yield target.path, kind.outputs, torch.zeros((), device=kind.device, dtype=kept_in(kind.dtype))

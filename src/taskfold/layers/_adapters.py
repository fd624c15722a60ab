"""The recipe of adapters: a bottleneck with a non-linearity at the layers that a where finds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn

from ..factors import Leaf
from ..interventions import Adapter
from ..routing import Private, Shared, Sharing
from ._part import Part
from ._recipe import Fitting, Recipe
from ._ruled import Direct, leaves_of
from ._where import Where, check_numbers

AdapterInit = Literal["zero", "authors"]
uniform = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))
"""Of ±1/√I."""


@dataclass(frozen=True)
class Adapters(Recipe):
    """An adapter at every layer that `where` finds: r (I + O) + r + O numbers.

    Args:
        where: the layers.
        adapter: what it does there.
        width: r ≥ 1, channels of the bottleneck.
        init: `zero` (`up` is zero: a new task is the backbone, bit for bit) or `authors` (N(0, 0.02): near it). Biases
            start at zero.
        sharing: `Private` or `Shared`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, an adapter does not fit a layer.
    """

    where: Where
    adapter: Adapter = field(default_factory=Adapter)
    width: int = 64
    init: AdapterInit = "zero"
    sharing: Sharing = field(default_factory=Private)

    def __post_init__(self) -> None:
        if not isinstance(self.width, int) or isinstance(self.width, bool) or self.width < 1:
            raise ValueError(f"width must be a number of channels, 1 or more, found {self.width!r}")
        if self.init not in get_args(AdapterInit):
            raise ValueError(f"init={self.init!r} is not known; choose one of {', '.join(get_args(AdapterInit))}")
        if not all(isinstance(rule, (Private, Shared)) for rule in self.sharing.rules()):
            raise ValueError(
                f"sharing={self.sharing.name!r} mixes the terms of a sum, and an adapter with a non-linearity is none; "
                "use 'private' or 'shared'"
            )

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for target in self.where.find(at.network):
            kind, path = at.kind(target.path), target.path
            for name, tensor in kind.tensors().items():
                if tensor.is_floating_point():
                    check_numbers(kind, path, name, tensor)
            channels = self.adapter.channels(kind)
            if channels is None:
                where = "beside" if self.adapter.beside else "behind"
                raise ValueError(
                    f"layer {path!r} ({kind.words}, {type(kind.module).__name__}): an adapter {where} it needs the "
                    "channels and positions of its input and output to be known; linear layers, attention units and "
                    "1×1 convolutions without a stride fit; leave the layer out with targets"
                )
            specs = self._leaves(*channels)
            like = torch.empty(0, dtype=kind.dtype, device=kind.device)
            rule, prefix = at.rule(self.sharing, path)
            own, inventory = leaves_of(at, f"{prefix}/{path}/adapter", specs, rule, like, {}, path)
            yield path, "adapter", Direct(self.adapter, specs, rule, own, inventory)

    def _leaves(self, out: int, inp: int) -> dict[str, Leaf]:
        near = partial(nn.init.normal_, std=0.02)
        down, up = (near, near) if self.init == "authors" else (uniform, nn.init.zeros_)
        return {
            "down": Leaf((self.width, inp), ("term", "inp"), down),
            "down_bias": Leaf((self.width,), ("term",), nn.init.zeros_),
            "up": Leaf((out, self.width), ("out", "term"), up),
            "up_bias": Leaf((out,), ("out",), nn.init.zeros_),
        }

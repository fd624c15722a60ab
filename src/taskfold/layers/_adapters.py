"""The recipe of adapters: a bottleneck with a non-linearity at the selected layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..factors import Kronecker, Leaf, Modes, check_whole
from ..interventions import Across, Adapter
from ..kinds import LayerKind
from ..routing import Private, Shared, Sharing
from ._part import Part
from ._pre_norm import Block
from ._recipe import Fitting, Recipe
from ._ruled import Direct, leaves_of
from ._where import Where, check_numbers

AdapterInit = Literal["zero", "authors"]
uniform = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))
"""Uniform in ±1/√I."""


@dataclass(frozen=True)
class Adapters(Recipe):
    """An adapter at every layer that `where` selects: r (I + O) + r + O numbers.

    Args:
        where: the layers.
        adapter: the intervention.
        width: r ≥ 1, channels of the bottleneck.
        init: `zero` (`up` is zero: a new task is the backbone, bit for bit) or `authors` (N(0, 0.02): near it). Biases
            start at zero.
        sharing: `Private` or `Shared`.
        matrices: the factorisation of `down` and `up`, started as `init` says; None: whole matrices.

    Raises:
        ValueError: a setting is out of its range; when a task is added, an adapter does not fit a layer.
    """

    where: Where
    adapter: Adapter = field(default_factory=Adapter)
    width: int = 64
    init: AdapterInit = "zero"
    sharing: Sharing = field(default_factory=Private)
    matrices: Kronecker | None = None

    def __post_init__(self) -> None:
        check_whole("width", self.width, 1)
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
            adapter = self.adapter
            if isinstance(target, Block):
                adapter = Across(adapter.activation, adapter.scale, True, target.norm, target.then)
            channels = adapter.channels(kind)
            if channels is None:
                where = "beside" if adapter.beside else "behind"
                raise ValueError(
                    f"layer {path!r} ({kind.words}, {type(kind.module).__name__}): an adapter {where} it needs the "
                    "channels and positions of its input and output to be known; linear layers, attention units and "
                    "1×1 convolutions without a stride fit; leave the layer out with targets"
                )
            made = self._made(*channels)
            try:
                specs = self._leaves(*channels) if made is None else self._few(made, *channels)
            except ValueError as error:
                raise ValueError(f"layer {path!r}: {error}") from None
            like = torch.empty(0, dtype=kind.dtype, device=kind.device)
            rule, prefix = at.rule(self.sharing, path)
            own, inventory = leaves_of(at, f"{prefix}/{path}/adapter", specs, rule, like, {}, path)
            rest = adapter, specs, rule, own, inventory
            yield path, "adapter", Direct(*rest) if made is None else OfFew(made, *rest)

    def _leaves(self, out: int, inp: int) -> dict[str, Leaf]:
        near = partial(nn.init.normal_, std=0.02)
        down, up = (near, near) if self.init == "authors" else (uniform, nn.init.zeros_)
        return {
            "down": Leaf((self.width, inp), ("term", "inp"), down),
            "down_bias": Leaf((self.width,), ("term",), nn.init.zeros_),
            "up": Leaf((out, self.width), ("out", "term"), up),
            "up_bias": Leaf((out,), ("out",), nn.init.zeros_),
        }

    def _made(self, out: int, inp: int) -> dict[str, tuple[Kronecker, Modes]] | None:
        if self.matrices is None:
            return None
        live, silent = (replace(self.matrices, init=init) for init in ("glorot", "zero"))
        return {
            "down": (live, Modes((self.width,), (inp,))),
            "up": (live if self.init == "authors" else silent, Modes((out,), (self.width,))),
        }

    def _few(self, made: dict[str, tuple[Kronecker, Modes]], out: int, inp: int) -> dict[str, Leaf]:
        specs = {
            f"{matrix}_{name}": leaf
            for matrix, (factors, modes) in made.items()
            for name, leaf in factors.leaves(modes).items()
        }
        biases = {name: leaf for name, leaf in self._leaves(out, inp).items() if name.endswith("_bias")}
        return {**specs, **biases}


class OfFew(Direct):
    """An adapter whose matrices are made of few numbers.

    Args:
        matrices: how, and as which tensors, by name: `down` and `up`.
    """

    def __init__(self, matrices: dict[str, tuple[Kronecker, Modes]], *rest: Any) -> None:
        super().__init__(*rest)
        self.matrices = matrices

    def made(self, kind: LayerKind, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {name: leaf for name, leaf in leaves.items() if name.endswith("_bias")}
        for matrix, (factors, modes) in self.matrices.items():
            mine = {name: leaves[f"{matrix}_{name}"] for name in factors.leaves(modes)}
            found[matrix] = factors.materialise(mine, modes)
        return found

    def alike(self, other: Part) -> bool:
        return super().alike(other) and self.matrices == other.matrices  # type: ignore[attr-defined]

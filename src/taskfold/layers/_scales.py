"""The recipe of scales: a scale and a shift of every channel of a layer's output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..factors import Group, Leaf
from ..interventions import Scale
from ..kinds import UNITS, Convolution, LayerKind, Linear, Patterns, matches
from ..routing import Private, Sharing
from ._copies import check_copied
from ._part import Part
from ._recipe import Fitting, Recipe
from ._ruled import Direct, leaves_of
from ._where import check_plain, output_layer, units

SCALE = Group("scale", 1e-3)
"""Scales and shifts; 1e-3 is the learning rate of SSF's authors with AdamW."""
ScaleInit = Literal["exact", "authors"]


@dataclass(frozen=True)
class Scales(Recipe):
    """A scale and a shift behind every linear layer, convolution and normalisation.

    A language model's output layer gets none. A normalisation without a bias (RMSNorm) gets a scale alone.

    Args:
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        init: `exact` starts at 1 and 0; `authors` at N(1, 0.02) and N(0, 0.02).
        sharing: the rule for scales and shifts.

    Raises:
        ValueError: `init` is unknown.
    """

    targets: Patterns = "*"
    init: ScaleInit = "exact"
    sharing: Sharing = field(default_factory=Private)

    def __post_init__(self) -> None:
        if self.init not in get_args(ScaleInit):
            raise ValueError(f"init={self.init!r} is not known; choose one of {', '.join(get_args(ScaleInit))}")

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        output = output_layer(at.network)
        found = [path for path, module in units(at.network) if module is not output and _scales(at.kind(path), module)]
        chosen = [path for path in found if matches(path, self.targets)]
        for path in chosen:
            yield path, "scale", self._part(at, path)
        if not chosen:
            names = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
            raise ValueError(
                f"targets={self.targets!r} selects none of the {len(found)} linear layers, convolutions and "
                f"normalisations of {type(at.network).__name__}: {names or 'there are none'}"
            )

    def _part(self, at: Fitting, path: str) -> Part:
        kind = at.kind(path)
        check_plain(kind, path)
        check_copied(kind, path, kind.tensors())
        if kind.outputs is None:
            raise ValueError(
                f"layer {path!r} ({kind.words}, {type(kind.module).__name__}) has no axis of channels that a scale "
                "could meet: a scale stands behind linear layers, convolutions, and normalisations that have a γ for "
                f"each channel; leave the layer out with targets=('*', '!{path}')"
            )
        names = ("scale", "shift") if kind.has_bias else ("scale",)
        specs = {name: Leaf((kind.outputs,), ("out",), self._start(name), SCALE) for name in names}
        rule, prefix = at.rule(self.sharing, path)
        like = torch.empty(0, dtype=kind.dtype, device=kind.device)
        own, inventory = leaves_of(at, f"{prefix}/{path}/scale", specs, rule, like, {}, path)
        return Direct(Scale(), specs, rule, own, inventory)

    def _start(self, name: str) -> Callable[[Tensor], object]:
        at = 1.0 if name == "scale" else 0.0
        if self.init == "exact":
            return partial(nn.init.constant_, val=at)
        return partial(nn.init.normal_, mean=at, std=0.02)


def _scales(kind: LayerKind, module: nn.Module) -> bool:
    """Whether a layer is scaled; attention units are included, to be refused by name: they hold linear layers."""
    return kind.normalises or isinstance(kind, (Linear, Convolution)) or isinstance(module, UNITS)

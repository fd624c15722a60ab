"""The recipes of gains: scales of an attention's projections, of a layer's outputs, and of its input channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..factors import Group, Leaf
from ..interventions import Change, Scale, ScaleInput
from ..kinds import LayerKind, Tensors
from ..routing import Private, Sharing
from ..tasks import Leaves
from ._attention import Attention
from ._part import Part, When
from ._recipe import Fitting, Recipe
from ._ruled import Direct, Ruled, leaves_of
from ._where import Target, View, Where

GAIN = Group("scale", 3e-3)
"""Scales that start at 1; 3e-3 is the learning rate of (IA)³'s authors."""


class GainsOfRows(Direct):
    """Scales of some of a layer's outputs: of queries, keys or values that one layer makes.

    Args:
        views: the scaled views of the layer's weight, by leaf name.
    """

    def __init__(self, views: Mapping[str, View], *rest: Any) -> None:
        super().__init__(*rest)
        self.views = dict(views)

    def made(self, kind: LayerKind, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"scale": spread(self.views, leaves, kind.outputs or 0)}

    def alike(self, other: Part) -> bool:
        return super().alike(other) and self.views == other.views  # type: ignore[attr-defined]


class GainsOfUnit(Ruled):
    """`GainsOfRows` for a module that reads its projections without calling them: scales rows of weights and bias."""

    def __init__(self, views: Mapping[str, View], *rest: Any) -> None:
        super().__init__(*rest)
        self.views = dict(views)

    def tensors(self, kind: LayerKind, changed: Tensors, when: When) -> dict[str, Tensor]:
        leaves = self.selected(kind.dtype, when.training)
        own = {**kind.tensors(), **changed}
        found: dict[str, Tensor] = {}
        for parameter in {view.parameter for view in self.views.values()}:
            mine = {name: view for name, view in self.views.items() if view.parameter == parameter}
            weight = own[parameter]
            found[parameter] = weight * spread(mine, leaves, len(weight)).unsqueeze(-1)
        if "in_proj_bias" in own:
            bias = own["in_proj_bias"]
            width = len(bias) // 3
            rows = {name: (n * width, (n + 1) * width) for n, name in enumerate(("query", "key", "value"))}
            found["in_proj_bias"] = bias * placed({rows[name]: leaves[name] for name in self.views}, len(bias))
        return found

    @property
    def alone(self) -> bool:
        return False


def spread(views: Mapping[str, View], leaves: Mapping[str, Tensor], size: int) -> Tensor:
    """Scales of views, `[*, rows]` each → `[*, size]`, 1 elsewhere."""
    return placed({view.rows or (0, size): leaves[name] for name, view in views.items()}, size)


def placed(parts: Mapping[tuple[int, int], Tensor], size: int) -> Tensor:
    """Tensors `[*, stop - start]` by their start and stop, in order → `[*, size]`, 1 elsewhere."""
    first, at, pieces = next(iter(parts.values())), 0, []
    for (start, stop), part in parts.items():
        if start > at:
            pieces.append(first.new_ones(*first.shape[:-1], start - at))
        pieces.append(part)
        at = stop
    if at < size:
        pieces.append(first.new_ones(*first.shape[:-1], size - at))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)


@dataclass(frozen=True)
class ProjectionGains(Recipe):
    """A scale of every output channel of some projections of attention, which starts at 1.

    Args:
        where: the projections; not the output projection.
        sharing: the rule for the scales.
    """

    where: Attention
    sharing: Sharing = field(default_factory=Private)

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for target in self.where.find(at.network):
            kind, views = at.kind(target.path), {view.name: view for view in target.views}
            specs = {name: _leaf(view.modes.shape[0]) for name, view in views.items()}
            rule, own, inventory = _leaves(at, target, "gain", specs, self.sharing)
            unit = isinstance(kind.module, nn.MultiheadAttention)
            part, intervention = (GainsOfUnit, Change()) if unit else (GainsOfRows, Scale())
            yield target.path, "gain", part(views, intervention, specs, rule, own, inventory)


@dataclass(frozen=True)
class OutputGains(Recipe):
    """A scale of every output channel of the layers that `where` selects, which starts at 1.

    Args:
        where: linear layers, convolutions or embeddings.
        sharing: the rule for the scales.
    """

    where: Where
    sharing: Sharing = field(default_factory=Private)

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for target in self.where.find(at.network):
            specs = {"scale": _leaf(target.views[0].modes.shape[0])}
            rule, own, inventory = _leaves(at, target, "gain", specs, self.sharing)
            yield target.path, "gain", Direct(Scale(), specs, rule, own, inventory)


@dataclass(frozen=True)
class InputGains(Recipe):
    """A scale of every input channel of the layers that `where` selects, which starts at 1.

    Args:
        where: linear layers or convolutions.
        sharing: the rule for the scales.
    """

    where: Where
    sharing: Sharing = field(default_factory=Private)

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        for target in self.where.find(at.network):
            channels = ScaleInput().channels(at.kind(target.path))
            assert channels is not None
            specs = {"scale": _leaf(channels)}
            rule, own, inventory = _leaves(at, target, "input-gain", specs, self.sharing)
            yield target.path, "input-gain", Direct(ScaleInput(), specs, rule, own, inventory)


def _leaf(size: int) -> Leaf:
    return Leaf((size,), ("out",), nn.init.ones_, GAIN)


def _leaves(
    at: Fitting, target: Target, name: str, specs: Mapping[str, Leaf], sharing: Sharing
) -> tuple[Sharing, Leaves, tuple[str, Leaves] | None]:
    kind = at.kind(target.path)
    rule, prefix = at.rule(sharing, target.path)
    like = torch.empty(0, dtype=kind.dtype, device=kind.device)
    own, inventory = leaves_of(at, f"{prefix}/{target.path}/{name}", specs, rule, like, {}, target.path)
    return rule, own, inventory

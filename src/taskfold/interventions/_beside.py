"""A low-rank update beside a layer: y + up · spatial · down x."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..factors import Bottleneck
from ..kinds import LayerKind, Rows, Tensors, WeightKind, traced
from ._base import Call, Intervention, Layer, Shapes
from ._forms import Form, Load
from ._step import updated


@dataclass(frozen=True)
class Beside(Intervention):
    """`up` `[O, R]`, `down` `[R, I]` (or `[R, I, *kernel]`), and optionally `spatial` `[R, *kernel]`.

    It runs in one of three forms of equal value (see `Form`): beside the layer, or in its weight.
    """

    name: ClassVar[str] = "beside"
    depth: ClassVar[int] = 1

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        kind, factors = _weight(layer.kind), _factors(tensors)
        x: Tensor = args[0] if args else next(iter(kwargs.values()))
        if not isinstance(call, Layer) or kind.packed:
            return kind.beside(factors, x, call(*args, **kwargs))
        trains = torch.is_grad_enabled() and factors.up.requires_grad
        alone = kind.additive and len(args) + len(kwargs) == 1
        form = (layer.form or _cheapest(kind, factors, x, trains)) if alone else "materialised"
        weight = call.tensors.get("weight", kind.weight)
        walk = kind.geometry
        if form == "materialised" or (form == "merged" and (walk is None or not trains)):
            return self._whole(tensors, call, kind)(*args, **kwargs)
        if walk is not None and trains and not weight.requires_grad and not traced():
            bias = call.tensors.get("bias", kind.bias)
            return updated(walk, x, kind.seen(weight), bias, factors, merged=form == "merged")
        return kind.beside(factors, x, call(*args, **kwargs))

    def _whole(self, tensors: Tensors, call: Layer, kind: WeightKind) -> Layer:
        """The layer with the update in its weight."""
        weight = kind.seen(call.tensors.get("weight", kind.weight))
        return replace(call, tensors={**call.tensors, "weight": kind.laid_out(_factors(tensors).onto(weight))})

    def bound(self, tensors: Tensors, call: Call, layer: Layer) -> Call:
        kind = _weight(layer.kind)
        if isinstance(call, Layer) and not (kind.packed or kind.additive):
            return self._whole(tensors, call, kind)
        return super().bound(tensors, call, layer)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return _weight(kind).additive

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        factors = Bottleneck(tensors["up"], tensors["down"], tensors.get("spatial"))
        x: Tensor = args[0] if args else next(iter(kwargs.values()))
        y = call(*args, **kwargs)
        if factors.up.dim() == 2:  # the same for all rows
            return layer.kind.beside(factors, x, y)  # type: ignore[attr-defined]
        return layer.kind.beside_rows(factors, rows, x, y)  # type: ignore[attr-defined]

    def joined(self, kind: LayerKind, inner: Tensors, outer: Tensors) -> dict[str, Tensor] | None:
        if not _weight(kind).last or "spatial" in inner or "spatial" in outer:
            return None
        lead = torch.broadcast_shapes(inner["up"].shape[:-2], outer["up"].shape[:-2])
        up, down = (
            torch.cat([one[name].expand(*lead, *one[name].shape[-2:]) for one in (inner, outer)], axis)
            for name, axis in (("up", -1), ("down", -2))
        )
        return {"up": up, "down": down}

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        return {name: torch.zeros(shape, device=kind.device, dtype=kind.dtype) for name, shape in shapes.items()}

    def widened(self, mine: Shapes, other: Shapes) -> Shapes | None:
        if mine.keys() != other.keys() or mine["down"][1:] != other["down"][1:]:
            return None
        rank = max(mine["up"][1], other["up"][1])
        return {name: (shape[0], rank) if name == "up" else (rank, *shape[1:]) for name, shape in mine.items()}

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        sizes = (tensors["up"].shape[0], tensors["down"].shape[1])
        return isinstance(kind, WeightKind) and sizes == kind.modes.shape[:2]

    def folds(self, kind: LayerKind) -> bool:
        return not _weight(kind).packed

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        layer = _weight(kind)
        if layer.packed:
            raise ValueError(
                f"a {layer.words} ({type(layer.module).__name__}) has packed numbers, which an update can't be folded "
                "into; load the backbone unquantised, fold, and quantise the result"
            )
        return {"weight": layer.laid_out(_factors(tensors).onto(layer.seen(inside["weight"])))}


def _factors(tensors: Tensors) -> Bottleneck:
    return Bottleneck(tensors["up"], tensors["down"], tensors.get("spatial"))


def _weight(kind: LayerKind) -> WeightKind:
    assert isinstance(kind, WeightKind)
    return kind


def _cheapest(kind: WeightKind, factors: Bottleneck, x: Tensor, trains: bool) -> Form:
    if torch.compiler.is_compiling():
        return "factored"  # one graph for every shape
    return Load.of(kind, factors, x, trains).cheapest()

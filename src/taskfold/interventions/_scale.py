"""A scale and a shift of a layer's output channels: y · scale + shift."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kinds import LayerKind, Rows, Tensors
from ._base import Call, Intervention, Layer, Shapes

SCALE, SHIFT = "scale", "shift"


@dataclass(frozen=True)
class Scale(Intervention):
    """`scale` `[C]`, and optionally `shift` `[C]`, for the C channels of a layer's output.

    A normalisation with γ and β absorbs them: it runs with γ · scale and β · scale + shift, before any activation that
    the layer includes.
    """

    name: ClassVar[str] = "scale"
    depth: ClassVar[int] = 2

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        scale, shift = tensors[SCALE], tensors.get(SHIFT)
        if layer.kind.within and isinstance(call, Layer):
            inside = {**layer.kind.tensors(), **call.tensors}
            changed = layer.kind.scaled(inside, scale, shift)
            return replace(call, tensors={**call.tensors, **changed})(*args, **kwargs)
        return layer.kind.rescaled(call(*args, **kwargs), scale, shift)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return not kind.within or kind.goes_by_rows(frozenset({"weight", "bias"}), training)

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        if layer.kind.within and isinstance(call, Layer):
            return self.run(tensors, call, layer, args, kwargs)
        each = {name: rows.of_each(tensor) for name, tensor in tensors.items()}
        return layer.kind.rescaled(call(*args, **kwargs), each[SCALE], each.get(SHIFT))

    def joined(self, kind: LayerKind, inner: Tensors, outer: Tensors) -> dict[str, Tensor]:
        found = {SCALE: inner[SCALE] * outer[SCALE]}
        if SHIFT in inner or SHIFT in outer:
            before = inner[SHIFT] * outer[SCALE] if SHIFT in inner else 0
            found[SHIFT] = before + outer.get(SHIFT, 0)  # type: ignore[assignment]
        return found

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        like = {"device": kind.device, "dtype": kind.dtype}
        return {name: (torch.ones if name == SCALE else torch.zeros)(shape, **like) for name, shape in shapes.items()}  # type: ignore[arg-type]

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        return all(tensor.shape == (kind.outputs,) for tensor in tensors.values())

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        return kind.scaled(inside, tensors[SCALE], tensors.get(SHIFT))

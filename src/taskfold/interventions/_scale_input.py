"""A scale of a layer's input channels."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kinds import Embedding, LayerKind, Rows, Tensors, WeightKind
from ._base import Call, Intervention, Layer, Shapes
from ._scale import SCALE


@dataclass(frozen=True)
class ScaleInput(Intervention):
    """`scale` `[C]` for the C channels of a layer's input: a linear layer's or a convolution's."""

    name: ClassVar[str] = "scale-input"
    depth: ClassVar[int] = 2

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        return _scaled(tensors[SCALE], call, layer, args, kwargs)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return True

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        return _scaled(rows.of_each(tensors[SCALE]), call, layer, args, kwargs)

    def joined(self, kind: LayerKind, inner: Tensors, outer: Tensors) -> dict[str, Tensor]:
        return {SCALE: inner[SCALE] * outer[SCALE]}

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        return {name: torch.ones(shape, device=kind.device, dtype=kind.dtype) for name, shape in shapes.items()}

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        return tensors[SCALE].shape == (self.channels(kind),)

    def channels(self, kind: LayerKind) -> int | None:
        """C at a layer; None: its input's channels are unknown."""
        if not isinstance(kind, WeightKind) or isinstance(kind, Embedding):
            return None
        return kind.modes.shape[1] * kind.modes.groups

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        words = f"a {kind.words} ({type(kind.module).__name__})"
        assert isinstance(kind, WeightKind)
        if kind.packed:
            raise ValueError(
                f"{words} has packed numbers, so that a scale of its input can't be folded into it; load the backbone "
                "unquantised, fold, and quantise the result"
            )
        if not kind.plainly:
            raise ValueError(
                f"{words} has a forward of its own, so that a scale of its input can't be folded into its weight; "
                "leave it out with targets, or serve the task unfolded"
            )
        weight = kind.seen(inside["weight"])
        each = tensors[SCALE].reshape(kind.modes.groups, 1, -1, *[1] * (weight.dim() - 2))
        return {"weight": kind.laid_out((weight.unflatten(0, (len(each), -1)) * each).flatten(0, 1))}


def _scaled(scale: Tensor, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
    """Runs the layer on its input times a scale, `[C]`, or `[B, C]` by row."""
    if args:
        return call(layer.kind.rescaled(args[0], scale, None), *args[1:], **kwargs)
    name, x = next(iter(kwargs.items()))
    return call(**{**kwargs, name: layer.kind.rescaled(x, scale, None)})

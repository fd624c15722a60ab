"""The layer runs with other tensors: copies, whole weights, masks, expansions, biases, normalisation."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kinds import LayerKind, Rows, Tensors
from ._base import Call, Intervention, Layer, Shapes


@dataclass(frozen=True)
class Change(Intervention):
    """Tensors in the place of the layer's own, by their names."""

    name: ClassVar[str] = "change"
    depth: ClassVar[int] = 0

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        return self.bound(tensors, call, layer)(*args, **kwargs)

    def bound(self, tensors: Tensors, call: Call, layer: Layer) -> Call:
        if not isinstance(call, Layer):
            raise TypeError(f"layer {layer.path!r}: tensors of a layer are changed inside everything else")
        return replace(call, tensors={**call.tensors, **tensors})

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return kind.goes_by_rows(names, training)

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        if isinstance(call, Layer):
            return self.bound(tensors, call, layer)(*args, **kwargs)
        return layer.kind.run_rows(args, kwargs, tensors, rows, layer.training, layer.path)

    def bound_rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer) -> Call:
        return self.bound(tensors, call, layer)

    def joined(self, kind: LayerKind, inner: Tensors, outer: Tensors) -> dict[str, Tensor]:
        return {**inner, **outer}

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        own, like = kind.tensors(), {"device": kind.device, "dtype": kind.dtype}
        missing = {name: torch.zeros(shape, **like) for name, shape in shapes.items() if name not in own}  # type: ignore[arg-type]
        return {**missing, **{name: own[name] for name in shapes if name in own}, **self._served(kind, shapes)}

    def _served(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        served = kind.served(kind.tensors()) if kind.normalises else {}
        return {name: tensor for name, tensor in served.items() if name in shapes}

    def served(self, kind: LayerKind, tensors: Tensors) -> dict[str, Tensor]:
        return kind.served({name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()})

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        shapes = {"bias": (kind.outputs,)} | {name: tensor.shape for name, tensor in kind.tensors().items()}
        return all(tensor.shape == shapes.get(name, tensor.shape) for name, tensor in tensors.items())

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        return dict(tensors)

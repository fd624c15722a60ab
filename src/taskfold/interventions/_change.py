"""Changes of a layer's tensors: copies, whole weights, masks, expansions, biases, normalisation."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..kinds import LayerKind, Rows, Tensors
from ..refusals import UnfitError
from ._base import Call, Intervention, Layer, Shapes
from ._masks import ADDED, BITS, PLACES, VALUES, as_bits, masked_name, nothing_done, put_on, scalars_on, together


@dataclass(frozen=True)
class Change(Intervention):
    """Tensors that replace the layer's own, by name; masks on them, `weight:mask` on `weight`; and terms added to
    them, `bias:added`, or at some places, `weight:places` and `weight:values`.

    A bank holds a mask as packed bits, `weight:bits`.
    """

    name: ClassVar[str] = "change"
    depth: ClassVar[int] = 0

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        return self.bound(tensors, call, layer)(*args, **kwargs)

    def bound(self, tensors: Tensors, call: Call, layer: Layer) -> Call:
        if not isinstance(call, Layer):
            raise UnfitError(f"layer {layer.path!r}: tensors of a layer are changed inside everything else")
        return replace(call, tensors={**call.tensors, **put_on(layer.kind, tensors, call.tensors)})

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        own = names if ":" not in "".join(names) else {masked_name(name) for name in names}
        return kind.goes_by_rows(own, training)

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        if isinstance(call, Layer) and call.tensors:
            return self.bound_rows(tensors, rows, call, layer)(*args, **kwargs)
        if ":" in "".join(tensors):
            tensors, rows = self._unmasked(tensors, rows, {}, layer)
        return layer.kind.run_rows(args, kwargs, tensors, rows, layer.training, layer.path)

    def _unmasked(self, tensors: Tensors, rows: Rows, inside: Tensors, layer: Layer) -> tuple[Tensors, Rows]:
        """Masks put on; bits are gathered first, and unpacked for the rows that there are: not for every entry."""
        if rows.index is not None and any(self.packed(name) for name in tensors):
            tensors = {name: rows.gather(tensor) for name, tensor in tensors.items()}
            rows = Rows(rows.size, None, rows.each, gathers=rows.gathers)
        return put_on(layer.kind, tensors, inside), rows

    def bound_rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer) -> Call:
        if not isinstance(call, Layer):
            raise UnfitError(f"layer {layer.path!r}: tensors of a layer are changed inside everything else")
        tensors, rows = self._unmasked(tensors, rows, call.tensors, layer)
        return replace(call, tensors={**call.tensors, **tensors}, rows=rows)

    def joined(self, kind: LayerKind, inner: Tensors, outer: Tensors) -> dict[str, Tensor] | None:
        return together(inner, outer)

    def packed(self, name: str) -> bool:
        return name.endswith((BITS, PLACES))

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        own, like = kind.tensors(), {"device": kind.device, "dtype": kind.dtype}
        missing = {
            name: nothing_done(kind, name, shape) if ":" in name else torch.zeros(shape, **like)  # type: ignore[arg-type]
            for name, shape in shapes.items()
            if name not in own
        }
        return {**missing, **{name: own[name] for name in shapes if name in own}, **self._served(kind, shapes)}

    def _served(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        served = kind.served(kind.tensors()) if kind.normalises else {}
        return {name: tensor for name, tensor in served.items() if name in shapes}

    def served(self, kind: LayerKind, tensors: Tensors) -> dict[str, Tensor]:
        numbers = {n: tensor for n, tensor in tensors.items() if tensor.is_floating_point() and ":" not in n}
        added = {name: tensor for name, tensor in tensors.items() if name.endswith((ADDED, VALUES))}
        places = {n: t.to(torch.int32).view(torch.uint8) for n, t in tensors.items() if n.endswith(PLACES)}
        return {**kind.served(numbers), **as_bits(tensors), **added, **places}

    def widened(self, mine: Shapes, other: Shapes) -> Shapes | None:
        both = mine.keys() & other.keys()
        grows = {name for name in both if self.packed(name) or name.endswith(VALUES)}
        if any(mine[n] != other[n] and not (n in grows and mine[n][1:] == other[n][1:]) for n in both):
            return None
        return {**mine, **other, **{name: max(mine[name], other[name]) for name in both}}  # bits, entries: of the wider

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        own = {name: tuple(tensor.shape) for name, tensor in kind.tensors().items()}
        shapes = {"bias": (kind.outputs,)} | own | {scalars_on(name): (4,) for name in own}
        whole = {name: t for name, t in tensors.items() if not name.endswith((PLACES, VALUES))}
        named = ((name if name in shapes else masked_name(name), tuple(t.shape)) for name, t in whole.items())
        return all(shapes.get(name, shape) == shape for name, shape in named)

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        return put_on(kind, tensors, inside)

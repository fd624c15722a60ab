"""A mix of channels behind a layer: y + mix y + shift at every position."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kinds import LayerKind, Rows, Tensors, WeightKind, check_values, thin
from ._base import Call, Intervention, Layer, Shapes

EPSILON, MOMENTUM = 1e-5, 0.1
MIX, SHIFT = "mix", "shift"


@dataclass(frozen=True)
class Mix(Intervention):
    """`mix` `[C, C]`, and optionally `shift` `[C]`, for the C channels of a layer's output.

    In training with its own normalisation: y + mix · BN(y), with `gamma`, `beta`, `mean` and `var` `[C]` in place of
    `shift`. BN uses the statistics of the batch, and writes their moving averages into `mean` and `var`.
    """

    name: ClassVar[str] = "mix"
    depth: ClassVar[int] = 3

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        y: Tensor = call(*args, **kwargs)
        seen = y
        if "gamma" in tensors:
            check_values(y, len(y), layer.path)
            mean, var, gamma, beta = (tensors[name] for name in ("mean", "var", "gamma", "beta"))
            seen = F.batch_norm(y, mean, var, gamma, beta, True, MOMENTUM, EPSILON)
        return y + self._mixed(tensors, layer.kind, seen).to(y.dtype)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return "gamma" not in names

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        y: Tensor = call(*args, **kwargs)
        if groups := rows.paying:
            each = {name: tensor.unbind() for name, tensor in tensors.items()}
            parts = zip(groups.entries, groups.split(y), strict=True)
            made = [
                self._mixed({n: held[entry] for n, held in each.items()}, layer.kind, part) for entry, part in parts
            ]
            return y + groups.unsorted(torch.cat(made)).to(y.dtype)
        own = rows.all_of_each(tensors)
        mix, last = own[MIX], _weight(layer.kind).last
        flat = y.reshape(len(mix), -1, y.shape[-1]).mT if last else y.flatten(2)
        delta = torch.bmm(mix, flat.to(mix.dtype))
        if SHIFT in own:
            delta = delta + own[SHIFT][..., None]
        return y + (delta.mT if last else delta).reshape(y.shape).to(y.dtype)

    def _mixed(self, tensors: Tensors, kind: LayerKind, y: Tensor) -> Tensor:
        mix, shift = tensors[MIX], tensors.get(SHIFT)
        y = y.to(mix.dtype)
        if _weight(kind).last:
            return F.linear(y, mix, shift)
        made = thin(mix, y)
        return made if shift is None else made + shift.to(made.dtype).reshape(-1, *[1] * (y.dim() - 2))

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        return {name: torch.zeros(shape, device=kind.device, dtype=kind.dtype) for name, shape in shapes.items()}

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        if not isinstance(kind, WeightKind) or kind.packed:
            return False
        square = (kind.outputs, kind.outputs)
        return all(t.shape == (square if name == MIX else square[:1]) for name, t in tensors.items())

    def folds(self, kind: LayerKind) -> bool:
        return _weight(kind).modes.groups == 1

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        layer, mix, shift = _weight(kind), tensors[MIX], tensors.get(SHIFT)
        if (groups := layer.modes.groups) > 1:
            raise ValueError(
                f"a {layer.words} ({type(layer.module).__name__}) has its channels in {groups} groups, which channels "
                "mixed behind it would join, so that they can't be folded into it; leave it out with targets, or serve "
                "the task unfolded"
            )
        layer.scaled(inside, torch.ones_like(mix[0]), shift)  # raises if the layer's forward can't absorb the change
        weight, bias = layer.seen(inside["weight"]), inside.get("bias")
        found = {"weight": layer.laid_out(weight + (mix @ weight.flatten(1)).reshape(weight.shape))}
        if bias is not None:
            bias = bias + mix @ bias
        if shift is not None:
            bias = shift if bias is None else bias + shift
        return found if bias is None else {**found, "bias": bias}


def _weight(kind: LayerKind) -> WeightKind:
    assert isinstance(kind, WeightKind)
    return kind

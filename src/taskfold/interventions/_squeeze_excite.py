"""Squeeze-and-excite behind a layer: gates on channels, computed from the averages of all channels."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kinds import BatchNorm, Convolution, LayerKind, Rows, Tensors
from ._base import Call, Intervention, Layer, Shapes


@dataclass(frozen=True)
class SqueezeExcite(Intervention):
    """y · 2σ(up relu(down avg y + down_bias) + up_bias), behind a layer whose output is `[B, C, …]`.

    `down` `[r, C]`, `down_bias` `[r]`, `up` `[C, r]`, `up_bias` `[C]`. Where `up` and `up_bias` are 0 the gate is 1.
    """

    name: ClassVar[str] = "squeeze-excite"
    depth: ClassVar[int] = 3

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        y: Tensor = call(*args, **kwargs)
        down, down_bias, up, up_bias = _of(tensors)
        return _gated(y, F.linear(F.linear(_squeezed(y, down), down, down_bias).relu(), up, up_bias))

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return True

    def rows(self, tensors: Tensors, rows: Rows, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        y: Tensor = call(*args, **kwargs)
        down, down_bias, up, up_bias = _of(rows.all_of_each(tensors))
        z = torch.baddbmm(down_bias[..., None], down, _squeezed(y, down)[..., None]).relu()
        return _gated(y, torch.baddbmm(up_bias[..., None], up, z)[..., 0])

    def neutral(self, kind: LayerKind, shapes: Shapes) -> dict[str, Tensor]:
        return {name: torch.zeros(shape, device=kind.device, dtype=kind.dtype) for name, shape in shapes.items()}

    def widened(self, mine: Shapes, other: Shapes) -> Shapes | None:
        """The larger r: padded channels are 0 behind relu."""
        if mine["up_bias"] != other["up_bias"]:
            return None
        size, width = mine["up"][0], max(mine["up"][1], other["up"][1])
        return {"down": (width, size), "down_bias": (width,), "up": (size, width), "up_bias": (size,)}

    def fits(self, kind: LayerKind, tensors: Tensors) -> bool:
        up, down = tensors["up"], tensors["down"]
        return self.stands_behind(kind) and up.shape == down.mT.shape and len(up) == kind.outputs

    def stands_behind(self, kind: LayerKind) -> bool:
        """Whether a layer's output is `[B, C, …]`, without an activation of its own."""
        act = getattr(kind.module, "act", None)
        return isinstance(kind, (BatchNorm, Convolution)) and (act is None or isinstance(act, nn.Identity))

    def folds(self, kind: LayerKind) -> bool:
        return False

    def folded(self, kind: LayerKind, tensors: Tensors, inside: Tensors) -> dict[str, Tensor]:
        raise ValueError(
            f"a squeeze-and-excite stands behind this {kind.words}, and no plain layer scales by what it puts out: "
            "serve the task as it is (model(x, task=…)), or make it without (squeeze_excite=False)"
        )


def _of(tensors: Tensors) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return tensors["down"], tensors["down_bias"], tensors["up"], tensors["up_bias"]


def _squeezed(y: Tensor, like: Tensor) -> Tensor:
    """The average of each channel, `[B, C]`."""
    return y.flatten(2).mean(-1).to(like.dtype) if y.dim() > 2 else y.to(like.dtype)


def _gated(y: Tensor, logits: Tensor) -> Tensor:
    gate = 2 * logits.to(y.dtype).sigmoid()
    return y * gate.reshape(*gate.shape, *[1] * (y.dim() - 2))

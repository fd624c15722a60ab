"""RepVGG (Ding et al. 2021): a convolution with three normalised branches in training, merged in evaluation."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..kinds import LayerKind, Tensors, check_values, stand_in
from ._base import Call, Layer
from ._change import Change

EPSILON, MOMENTUM = 1e-5, 0.1
PARTS = ("gamma", "beta", "mean", "var")


@dataclass(frozen=True)
class Branches(Change):
    """The sum of k×k, 1×1 and identity branches, each followed by BatchNorm.

    In training the tensors are the branches' (`kernel/weight`, `kernel/gamma`, …), and each branch is normalised over
    the batch. In evaluation they are `weight` and `bias` of one convolution: the sum of the kernels, each times γ/σ by
    channel, and the sum of β − γμ/σ. Section 3.3 of the paper.
    """

    name: ClassVar[str] = "branches"

    def run(self, tensors: Tensors, call: Call, layer: Layer, args: tuple, kwargs: dict) -> Any:
        if "weight" in tensors:
            return super().run(tensors, call, layer, args, kwargs)
        conv: nn.Conv2d = layer.kind.module  # type: ignore[assignment]
        (x,) = (*args, *kwargs.values())
        total = None
        for name in names_of(tensors):
            y = _branch(conv, name, tensors, x)
            check_values(y, len(y), layer.path)
            gamma, beta, mean, var = (tensors[f"{name}/{part}"] for part in PARTS)
            y = F.batch_norm(y, mean, var, gamma, beta, True, MOMENTUM, EPSILON)
            total = y if total is None else total + y
        return total

    def bound(self, tensors: Tensors, call: Call, layer: Layer) -> Call:
        if "weight" in tensors:
            return super().bound(tensors, call, layer)
        return lambda *args, **kwargs: self.run(tensors, call, layer, args, kwargs)

    def goes_by_rows(self, kind: LayerKind, names: Set[str], training: bool) -> bool:
        return "weight" in names and super().goes_by_rows(kind, names, training)


def merged(conv: nn.Conv2d, tensors: Tensors) -> dict[str, Tensor]:
    """`weight` and `bias` of the merged convolution."""
    dtype = conv.weight.dtype
    weight, bias = torch.zeros_like(conv.weight), conv.weight.new_zeros(len(conv.weight))
    for name in names_of(tensors):
        gamma, beta, mean, var = (tensors[f"{name}/{part}"] for part in PARTS)
        scale = gamma * (var + EPSILON).rsqrt()
        weight = weight + (_kernel(conv, name, tensors) * scale[:, None, None, None]).to(dtype)
        bias = bias + (beta - mean * scale).to(dtype)
    return {"weight": weight, "bias": bias}


def names_of(tensors: Tensors) -> list[str]:
    """The names of the branches in a fixed order, since rounding depends on the order of a sum."""
    return [name for name in ("kernel", "point", "identity") if f"{name}/gamma" in tensors]


def branches_of(conv: nn.Conv2d) -> tuple[str, ...]:
    """The branches of a convolution; the identity only if output and input have the same size and channels."""
    keeps = centred(conv) and conv.stride == (1, 1) and conv.in_channels == conv.out_channels
    return ("kernel", "point", "identity") if keeps else ("kernel", "point")


def centred(conv: nn.Conv2d) -> bool:
    """Whether the centre of the kernel starts at the input's first pixel."""
    plain = type(conv).forward is nn.Conv2d.forward and conv.padding_mode == "zeros"
    middle = tuple(d * (k // 2) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return plain and (conv.padding == middle or (conv.padding == "same" and conv.stride == (1, 1)))


def _branch(conv: nn.Conv2d, name: str, tensors: Tensors, x: Tensor) -> Tensor:
    if name == "identity":
        return x
    weight = tensors[f"{name}/weight"].to(x.dtype)
    if name == "point" and centred(conv):
        return F.conv2d(x, weight, None, conv.stride, 0, 1, conv.groups)
    whole = _widened(weight, conv) if name == "point" else weight
    return stand_in(conv, {"weight": whole, "bias": None}).forward(x)


def _kernel(conv: nn.Conv2d, name: str, tensors: Tensors) -> Tensor:
    if name == "kernel":
        return tensors["kernel/weight"]
    if name == "point":
        return _widened(tensors["point/weight"], conv)
    inputs = conv.weight.shape[1]
    seen = torch.arange(len(conv.weight), device=conv.weight.device) % inputs
    return _widened(F.one_hot(seen, inputs)[:, :, None, None].to(conv.weight), conv)


def _widened(weight: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1×1 kernel as the centre of a larger one."""
    high, wide = (k // 2 for k in conv.kernel_size)
    return F.pad(weight, (wide, wide, high, high))

"""Depthwise convolutions with wide kernels: the weight's gradient is computed in a faster way than the backend's.

On CPUs the backend is fast for kernels of up to three columns; five take five to ten times as long as twice three.
On small maps, products of all pairs of positions are faster still: five columns on 4² take a thirtieth of the time.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._geometry import Geometry, Grads, differentiable

COLUMNS = 3
PAIRS = 1024
"""The most pairs of an input's and an output's position for which all pairs are multiplied."""


def is_wide(module: nn.Module, x: Tensor) -> bool:
    """Whether the layer is a wide depthwise convolution, and the input a plain CPU tensor."""
    if not isinstance(module, nn.Conv2d) or not module.in_channels == module.out_channels == module.groups:
        return False
    wide = module.kernel_size[1] > COLUMNS and module.dilation == (1, 1) and Geometry.of(module) is not None
    plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return wide and plain and not torch.is_autocast_enabled("cpu")


def depthwise(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Runs the layer with a weight that trains."""
    walk = Geometry.of(module)
    assert walk is not None
    return _Depthwise.apply(x, weight, bias, walk)  # type: ignore[return-value]


class _Depthwise(torch.autograd.Function):
    """(x, W, bias) → y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, walk: Geometry) -> Tensor:
        ctx.walk = walk
        ctx.save_for_backward(x, weight, bias)
        return walk.run(x, weight, bias, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Grads:  # type: ignore[override]
        inputs = list(ctx.saved_tensors)
        x, weight, _ = inputs
        walk, wanted = ctx.walk, ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # double backward
            return *differentiable(gy, inputs, wanted, partial(walk.run, groups=len(weight))), None
        gx = walk.gradients(gy, x, weight, (True, False), len(weight))[0] if wanted[0] else None
        gw = weight_gradient(walk, gy, x, weight) if wanted[1] else None
        return gx, gw, gy.sum((0, 2, 3)) if wanted[2] else None, None


def weight_gradient(walk: Geometry, gy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The weight's gradient `[C, 1, k, k]`: by pairs of positions on small maps, else by columns."""
    small = prod(x.shape[2:]) * prod(gy.shape[2:]) <= PAIRS
    return (_by_pairs if small else _by_columns)(walk, gy, x, weight)


def _by_pairs(walk: Geometry, gy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Sums of products over the batch for each pair of positions, then over the pairs that a weight joins."""
    channels = len(weight)
    inputs, outputs = (one.contiguous().transpose(0, 1).reshape(channels, len(one), -1) for one in (x, gy))
    pairs = (outputs.mT @ inputs).reshape(channels, -1)
    return (pairs @ _joined(walk, gy, x, weight)).reshape(weight.shape)


def _joined(walk: Geometry, gy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """`[outputs · inputs, k · k]`: 1 where a weight joins an input's position to an output's, else 0."""
    assert walk.stride is not None
    assert walk.padding is not None
    axes = []
    for axis, (stride, padding) in enumerate(zip(walk.stride, walk.padding, strict=True), 2):
        tap, y, position = (torch.arange(one.shape[axis], device=x.device) for one in (weight, gy, x))
        axes.append((position - stride * y[:, None] + padding == tap[:, None, None]).to(x.dtype))
    return torch.einsum("iyr,jxc->yxrcij", *axes).reshape(-1, prod(weight.shape[2:]))


def _by_columns(walk: Geometry, gy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """A few columns at a time on a shifted input."""
    assert walk.stride is not None
    assert walk.padding is not None
    stride, (rows, side), width = walk.stride[1], walk.padding, weight.shape[-1]
    parts = []
    for first in range(0, width, COLUMNS):
        columns = weight[..., first : first + COLUMNS]
        before = side - first
        after = stride * (gy.shape[-1] - 1) + columns.shape[-1] - x.shape[-1] - before
        if x.shape[-1] + min(before, 0) + min(after, 0) <= 0:  # a small map: these columns see padding alone
            parts.append(torch.zeros_like(columns))
            continue
        shifted = F.pad(x, (before, after))  # negative sizes crop
        narrow = Geometry(walk.stride, (rows, 0), walk.dilation)
        parts.append(narrow.gradients(gy, shifted, columns, (False, True), len(weight))[1])
    return torch.cat(parts, -1)

"""A custom autograd step for a layer with W + ΔW, where ΔW = up · spatial · down.

Plain autograd would write the layer's output twice and add two gradients of its input, or compute the gradient of W.
This step computes the factors' gradients from R channels, and the input's from one layer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..factors import Bottleneck
from ..kinds import Geometry, differentiable, outer, plus_, thin

Grads = tuple[Tensor | None, ...]


class _Updated(torch.autograd.Function):
    """(x, W, bias, up, down, spatial) → y; keeps x and the R channels for its backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        up: Tensor,
        down: Tensor,
        spatial: Tensor | None,
        walk: Geometry,
        merged: bool,
    ) -> Tensor:
        ctx.walk, ctx.merged = walk, merged
        channels = walk.reduced(x, down, spatial)
        ctx.save_for_backward(x, weight, bias, up, down, spatial, channels[0], channels[-1])
        if merged:
            return walk.run(x, Bottleneck(up, down, spatial).onto(weight), bias)
        return plus_(walk.run(x, weight, bias), up, channels[-1])

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Grads:  # type: ignore[override]
        *inputs, u, z = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:6]
        if torch.is_grad_enabled():  # double backward
            return *differentiable(gy, inputs, wanted, partial(_whole, ctx.walk)), None, None
        x, weight, _, up, down, spatial = inputs
        gz, gx = thin(up.mT, gy), None
        g_up = outer(z, gy).mT
        if wanted[0]:
            full = Bottleneck(up, down, spatial).onto(weight) if ctx.merged else weight
            gx = ctx.walk.input_gradient(gy, x, full)
        adds = None if ctx.merged else gx
        g_down, g_spatial, added = ctx.walk.reduced_gradients(gz, x, u, down, spatial, adds)
        g_bias = gy.sum((0, *range(2, gy.dim()))) if wanted[2] else None
        return gx if ctx.merged else added, None, g_bias, g_up, g_down, g_spatial, None, None


def _whole(walk: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None, *factors: Tensor) -> Tensor:
    return walk.run(x, Bottleneck(*factors).onto(weight), bias)


def updated(
    walk: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None, factors: Bottleneck, merged: bool
) -> Tensor:
    """The layer's output with W + ΔW; W itself is frozen."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if not x.is_meta and torch.is_autocast_enabled(kind) else weight.dtype
    up, down, spatial = factors.up.to(dtype), factors.down.to(dtype), factors.spatial
    if spatial is not None:
        spatial = spatial.to(dtype)
        if set(spatial.shape[1:]) == {1}:
            down, spatial = down * spatial.flatten(1), None
    if walk.walks and set(kernel := weight.shape[2:]) == {1}:
        down = down.reshape(*down.shape[:2], *(() if not any(walk.padding or ()) else kernel))
    rows = x.to(dtype) if walk.walks else x.to(dtype).reshape(-1, x.shape[-1])
    bias = None if bias is None else bias.to(dtype)
    y: Tensor = _Updated.apply(rows, weight.to(dtype), bias, up, down, spatial, walk, merged)  # type: ignore[misc]
    return y if walk.walks else y.reshape(*x.shape[:-1], y.shape[-1])

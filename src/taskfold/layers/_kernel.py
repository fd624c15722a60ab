"""One autograd step for a layer with W + ΔW, where ΔW = up · spatial · down.

Written out, since autograd would run the update as a network of its own: write the layer's output twice, add two
gradients of its input, or find a gradient of W and take the factors' part of it. Here the factors' gradients come from
R channels, and the input's from one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import Bottleneck
from ._thin import outer, plus_, thin

Grads = tuple[Tensor | None, ...]
_backward = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Geometry:
    """How a convolution walks; None in all of them: a linear layer on rows `[N, I]`."""

    stride: tuple[int, ...] | None = None
    padding: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None

    @classmethod
    def of(cls, module: nn.Module) -> Geometry | None:
        """Of a layer that runs torch's own forward; None: one that another step cannot stand for."""
        if isinstance(module, nn.Linear):
            return cls() if type(module).forward is nn.Linear.forward else None
        if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
            return None
        kind = type(module)
        if kind.forward is not nn.Conv2d.forward or kind._conv_forward is not nn.Conv2d._conv_forward:
            return None
        return None if isinstance(module.padding, str) else cls(module.stride, module.padding, module.dilation)

    @property
    def walks(self) -> bool:
        return self.stride is not None

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
        if not self.walks:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, groups)  # type: ignore[arg-type]

    def input_gradient(self, gy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return self.gradients(gy, x, weight, (True, False))[0] if self.walks else gy @ weight

    def gradients(self, gy: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool], groups: int = 1) -> Any:
        """Of a convolution's input and weight."""
        walk = (self.stride, self.padding, self.dilation)
        return _backward(gy, x, weight, None, *walk, False, [0, 0], groups, [*wanted, False])[:2]

    # The step down to R channels: at one position, over the whole kernel, or at one and then channel by channel

    def reduced(self, x: Tensor, down: Tensor, spatial: Tensor | None) -> tuple[Tensor, ...]:
        """`[…, R]` channels; with a kernel per channel also those before it."""
        if spatial is not None:
            u = thin(down, x)
            return u, self.run(u, spatial[:, None], groups=len(spatial))
        return (thin(down, self.seen(x)) if down.dim() == 2 else self.run(x, down),)

    def seen(self, x: Tensor) -> Tensor:
        """The positions that a kernel of one position walks over."""
        if self.stride is None or self.stride == (1, 1):
            return x
        return x[:, :, :: self.stride[0], :: self.stride[1]]

    def reduced_gradients(
        self, gz: Tensor, x: Tensor, u: Tensor, down: Tensor, spatial: Tensor | None, gx: Tensor | None
    ) -> Grads:
        """Of `down` and `spatial`, and `gx` with that of x added, if there is one."""
        if spatial is not None:
            gz, gs = self.gradients(gz, u, spatial[:, None], (True, True), groups=len(spatial))
            return outer(gz, x), gs[:, 0], None if gx is None else plus_(gx, down.mT, gz)
        if down.dim() == 2:
            if gx is not None:
                if self.stride in (None, (1, 1)):
                    gx = plus_(gx, down.mT, gz)
                else:
                    self.seen(gx).add_(thin(down.mT, gz))
            return outer(gz, self.seen(x)), None, gx
        more, gd = self.gradients(gz, x, down, (gx is not None, True))
        return gd, None, None if gx is None else gx.add_(more)


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
        if torch.is_grad_enabled():  # a gradient of this gradient will be asked for
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


def differentiable(gy: Tensor, inputs: list[Tensor], wanted: tuple[bool, ...], run: Callable[..., Tensor]) -> Grads:
    """Gradients of a step, as a graph: the step again, as autograd knows it."""
    asked = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(run(*inputs), asked, gy, create_graph=True))
    return tuple(next(found) if want else None for want in wanted)


def _whole(walk: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None, *factors: Tensor) -> Tensor:
    return walk.run(x, Bottleneck(*factors).onto(weight), bias)


def updated(
    walk: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None, factors: Bottleneck, merged: bool
) -> Tensor:
    """The layer's output with W + ΔW; W itself is frozen."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    up, down, spatial = factors.up.to(dtype), factors.down.to(dtype), factors.spatial
    if spatial is not None:
        spatial = spatial.to(dtype)
        if spatial.shape[1:] == (1, 1):
            down, spatial = down * spatial[:, 0], None
    if weight.shape[2:] == (1, 1):
        down = down.reshape(*down.shape[:2], *(() if walk.padding == (0, 0) else (1, 1)))
    rows = x.to(dtype) if walk.walks else x.to(dtype).reshape(-1, x.shape[-1])
    bias = None if bias is None else bias.to(dtype)
    y: Tensor = _Updated.apply(rows, weight.to(dtype), bias, up, down, spatial, walk, merged)  # type: ignore[misc]
    return y if walk.walks else y.reshape(*x.shape[:-1], -1)

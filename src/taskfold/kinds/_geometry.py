"""The geometry of convolutions and linear layers, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._thin import outer, plus_, thin

Grads = tuple[Tensor | None, ...]
CONVOLUTIONS: dict[type[nn.Module] | None, int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
FUNCTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_backward = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Geometry:
    """Stride, padding and dilation of a convolution; all None: a linear layer on rows `[N, I]`."""

    stride: tuple[int, ...] | None = None
    padding: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None

    @classmethod
    def of(cls, module: nn.Module) -> Geometry | None:
        """The geometry of a convolution with torch's own forward; None: it has another forward or padding."""
        own = CONVOLUTIONS.get(plain_class(module))
        if own is None or module.padding_mode != "zeros" or isinstance(module.padding, str):  # type: ignore[union-attr]
            return None
        return cls(module.stride, module.padding, module.dilation)  # type: ignore[union-attr,arg-type]

    @property
    def walks(self) -> bool:
        return self.stride is not None

    def run(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> Tensor:
        if self.stride is None:
            return F.linear(x, weight, bias)
        run = FUNCTIONS[len(self.stride)]
        return run(x, weight, bias, self.stride, self.padding, self.dilation, groups)

    def input_gradient(self, gy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return self.gradients(gy, x, weight, (True, False))[0] if self.walks else gy @ weight

    def gradients(self, gy: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool], groups: int = 1) -> Any:
        """The gradients of a convolution's input and weight."""
        walk = (self.stride, self.padding, self.dilation)
        return _backward(gy, x, weight, None, *walk, False, [0] * len(walk[0] or ()), groups, [*wanted, False])[:2]

    # The reduction to R channels: at one position, over the whole kernel, or at one position and then by channel

    def reduced(self, x: Tensor, down: Tensor, spatial: Tensor | None) -> tuple[Tensor, ...]:
        """The R channels; with `spatial`, a kernel per channel, also the channels before it."""
        if spatial is not None:
            u = thin(down, x)
            return u, self.run(u, spatial[:, None], groups=len(spatial))
        return (thin(down, self.seen(x)) if down.dim() == 2 else self.run(x, down),)

    def seen(self, x: Tensor) -> Tensor:
        """The positions that a 1×1 kernel reads."""
        if self.stride is None or set(self.stride) == {1}:
            return x
        return x[(slice(None), slice(None), *(slice(None, None, step) for step in self.stride))]

    def reduced_gradients(
        self, gz: Tensor, x: Tensor, u: Tensor, down: Tensor, spatial: Tensor | None, gx: Tensor | None
    ) -> Grads:
        """The gradients of `down` and `spatial`, and `gx` plus the gradient of x; None: not wanted."""
        if spatial is not None:
            gz, gs = self.gradients(gz, u, spatial[:, None], (True, True), groups=len(spatial))
            return outer(gz, x), gs[:, 0], None if gx is None else plus_(gx, down.mT, gz)
        if down.dim() == 2:
            if gx is not None:
                if self.stride is None or set(self.stride) == {1}:
                    gx = plus_(gx, down.mT, gz)
                else:
                    self.seen(gx).add_(thin(down.mT, gz))
            return outer(gz, self.seen(x)), None, gx
        more, gd = self.gradients(gz, x, down, (gx is not None, True))
        return gd, None, None if gx is None else gx.add_(more)


def plain_class(module: nn.Module) -> type[nn.Module] | None:
    """The torch class whose forward a convolution runs; None: the convolution has its own."""
    for own in CONVOLUTIONS:
        if own is not None and isinstance(module, own):
            kind = type(module)
            plain = kind.forward is own.forward and kind._conv_forward is own._conv_forward  # type: ignore[attr-defined]
            return own if plain else None
    return None


def differentiable(gy: Tensor, inputs: list[Tensor], wanted: tuple[bool, ...], run: Callable[..., Tensor]) -> Grads:
    """Differentiable gradients of a step, from a rerun under autograd."""
    asked = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(run(*inputs), asked, gy, create_graph=True))
    return tuple(next(found) if want else None for want in wanted)

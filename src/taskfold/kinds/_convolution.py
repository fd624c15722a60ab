"""Convolutions over one, two and three axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import Bottleneck, Modes
from ._base import NONE, Tensors, traced
from ._depthwise import depthwise, is_wide
from ._geometry import Geometry, plain_class
from ._linear import baddbmm
from ._rows import Rows
from ._stand_in import stand_in
from ._thin import thin
from ._weight import WeightKind


class Convolution(WeightKind):
    """`nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d` and subclasses."""

    words = "convolution"
    last = False

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))

    @property
    def modes(self) -> Modes:
        out, inp, *kernel = self.seen(self.weight).shape
        return Modes((out,), (inp,), tuple(kernel), self.module.groups)  # type: ignore[arg-type]

    @property
    def plainly(self) -> bool:
        return plain_class(self.module) is not None

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.geometry = Geometry.of(module)
        self.points = set(module.kernel_size) == {1}  # type: ignore[arg-type]
        """Whether the kernel has a single position."""
        self.single = 1 + len(module.kernel_size)  # type: ignore[arg-type]
        self.groups = module.groups  # type: ignore[assignment]

    def examples(self, normal: Callable[..., Tensor], rows: int) -> Iterator[Tensor]:
        sizes = zip(self.module.dilation, self.module.kernel_size, strict=True)  # type: ignore[call-overload]
        yield normal(rows, self.module.in_channels, *(2 * d * k + 1 for d, k in sizes))

    def walk(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        if walk := self.geometry:
            return walk.run(x, weight, groups=groups)
        out, inp = weight.shape[0], weight.shape[1] * groups
        twin = stand_in(self.module, {"weight": weight, "bias": None}, groups=groups, in_channels=inp, out_channels=out)
        return twin.forward(x)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> object:
        weight = tensors.get("weight")
        if weight is not None and weight.requires_grad and torch.is_grad_enabled() and not traced():
            (x,) = (*args, *kwargs.values())
            if is_wide(self.module, x):
                return depthwise(self.module, x, weight, tensors.get("bias", self.bias))  # type: ignore[arg-type]
        return super().run(args, kwargs, tensors, training)

    def positions(self, x: Tensor) -> int:
        return len(x) * max(1, prod(x.shape[2:]) // prod(self.module.stride))  # type: ignore[arg-type]

    def reduced(self, x: Tensor, factors: Bottleneck) -> Tensor:
        if factors.spatial is None:
            return self.walk(x, factors.down)
        if self.points:
            ones = (1,) * (factors.spatial.dim() - 1)
            return self.walk(x, factors.down.reshape(*factors.down.shape, *ones) * factors.spatial[:, None])
        return self.walk(thin(factors.down, x), factors.spatial[:, None], groups=factors.rank)

    # Rows

    def beside_rows(self, factors: Bottleneck, rows: Rows, x: Tensor, y: Tensor) -> Tensor:
        if groups := rows.paying:
            return self.beside_groups(factors, groups, x, y)
        held = {"up": factors.up, "down": factors.down}
        every = rows.all_of_each(held if factors.spatial is None else {**held, "spatial": factors.spatial})
        z = self._reduced_rows(every["down"], every.get("spatial"), x)
        return baddbmm(y.flatten(2), every["up"], z.flatten(2)).reshape(y.shape)

    def _reduced_rows(self, down: Tensor, spatial: Tensor | None, x: Tensor) -> Tensor:
        if spatial is None:
            return self.rows_of_weights(down, x, 1)
        if self.points:  # a number for each channel
            ones = (1,) * (spatial.dim() - 2)
            return self.rows_of_weights(down.reshape(*down.shape, *ones) * spatial[:, :, None], x, 1)
        z = torch.bmm(down, x.flatten(2)).unflatten(2, x.shape[2:])
        return self._grouped(spatial[:, :, None], z, spatial.shape[1], 1)

    def rows_of_weights(self, weights: Tensor, x: Tensor, each: int) -> Tensor:
        walk, groups = self.geometry, self.modes.groups
        if walk and not any(walk.padding or ()) and self.points and groups == each == 1:
            seen = walk.seen(x)
            return torch.bmm(weights.flatten(2), seen.flatten(2)).unflatten(2, seen.shape[2:])
        return self._grouped(weights, x, groups, each)

    def _grouped(self, weights: Tensor, x: Tensor, groups: int, each: int) -> Tensor:
        """`[B / each, O, I/groups, *kernel]` weights, in the layer's geometry, on the rows of a batch."""
        if torch.compiler.is_exporting():
            return self._unfolded(weights if each == 1 else weights.repeat_interleave(each, 0), x, groups)
        held, out = weights.shape[:2]
        wide = x.unflatten(0, (-1, each)).transpose(0, 1).flatten(1, 2)
        z = self.walk(wide, weights.flatten(0, 1), groups=held * groups)
        return z.unflatten(1, (-1, out)).transpose(0, 1).flatten(0, 1)

    def _unfolded(self, weights: Tensor, x: Tensor, groups: int) -> Tensor:
        """`_grouped` as a matrix product, for ONNX, whose number of groups can't depend on the batch.

        The layer itself gathers the kernel's inputs, with kernels that each pick one position.
        """
        batch, out, kernel, channels = weights.shape[0], weights.shape[1], weights.shape[3:], x.shape[1]
        ones = (1,) * len(kernel)
        taps = torch.eye(kernel.numel(), dtype=x.dtype, device=x.device).reshape(-1, 1, *kernel)
        seen = self.walk(x, taps.repeat(channels, 1, *ones), groups=channels)
        parts = seen.flatten(2).reshape(batch, groups, -1, prod(seen.shape[2:]))
        return (weights.reshape(batch, groups, out // groups, -1) @ parts).reshape(batch, out, *seen.shape[2:])


class TransposedConvolution(Convolution):
    """`nn.ConvTranspose1d`, `2d`, `3d` and subclasses, with weights `[I, O/groups, *kernel]`."""

    words = "transposed convolution"

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        return isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))

    @property
    def plainly(self) -> bool:
        return type(self.module).forward in _PLAIN

    def seen(self, weight: Tensor) -> Tensor:
        return _turned(weight, self.module.groups, len(self.module.kernel_size))  # type: ignore[arg-type]

    def laid_out(self, weight: Tensor) -> Tensor:
        return _turned(weight, self.module.groups, len(self.module.kernel_size))  # type: ignore[arg-type]

    def walk(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        own, module = _turned(weight, groups, weight.dim() - 2), cast(nn.ConvTranspose2d, self.module)
        if run := _PLAIN.get(type(module).forward):
            return run(x, own, None, module.stride, module.padding, module.output_padding, groups, module.dilation)
        out, inp = weight.shape[0], weight.shape[1] * groups
        twin = stand_in(module, {"weight": own, "bias": None}, groups=groups, in_channels=inp, out_channels=out)
        return twin.forward(x)

    def run(self, args: tuple, kwargs: dict, tensors: Tensors = NONE, training: bool = False) -> object:
        return super(Convolution, self).run(args, kwargs, tensors, training)

    def positions(self, x: Tensor) -> int:
        return len(x) * prod(x.shape[2:]) * prod(self.module.stride)  # type: ignore[arg-type]


def _turned(weight: Tensor, groups: int, kernel: int) -> Tensor:
    """`[*, groups · a, b, *kernel]` → `[*, groups · b, a, *kernel]`."""
    lead = weight.dim() - 2 - kernel
    return weight.unflatten(lead, (groups, -1)).transpose(lead + 1, lead + 2).flatten(lead, lead + 1)


_PLAIN: dict[Any, Any] = {
    nn.ConvTranspose1d.forward: F.conv_transpose1d,
    nn.ConvTranspose2d.forward: F.conv_transpose2d,
    nn.ConvTranspose3d.forward: F.conv_transpose3d,
}

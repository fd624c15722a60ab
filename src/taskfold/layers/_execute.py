"""One task at one layer: beside it through its bottleneck, or in its weight. Three forms, one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..factors import Bottleneck
from ._depthwise import depthwise, is_wide
from ._forms import Form, Load
from ._kernel import Geometry, updated
from ._stand_in import stand_in
from ._thin import plus, plus_
from ._where import View


def joined(parts: Sequence[tuple[Bottleneck, View]], out: int) -> Bottleneck:
    """Updates of several views of one weight `[out, …]` as one update of all of it."""
    if len(parts) == 1 and parts[0][1].rows is None:
        return parts[0][0]
    lead = torch.broadcast_shapes(*(factors.up.shape[:-2] for factors, _ in parts))
    ups, downs = [], []
    for factors, view in parts:
        start, stop = view.rows or (0, out)
        ups.append(F.pad(factors.up, (0, 0, start, out - stop)).expand(*lead, -1, -1))
        downs.append(factors.down.expand(*lead, *factors.down.shape[-2:]))
    return Bottleneck(torch.cat(ups, -1), torch.cat(downs, -2))


def is_grouped(module: nn.Module) -> bool:
    """Whether a layer's channels see parts of its input, so that an update has no bottleneck there."""
    return isinstance(module, nn.Conv2d) and module.groups > 1


def run(module: nn.Module, own: Mapping[str, Tensor], factors: Bottleneck, x: Tensor, wanted: Form | None) -> Tensor:
    """A layer that is linear in its weight, with ΔW.

    Args:
        module: the layer.
        own: tensors that the task has there instead of the layer's.
        factors: ΔW.
        x: the layer's input.
        wanted: the form; None: the cheapest.
    """
    trains = torch.is_grad_enabled() and factors.up.requires_grad
    form = "materialised" if is_grouped(module) else wanted or _cheapest(module, factors, x, trains)
    weight: Tensor = own.get("weight", module.weight)  # type: ignore[assignment]
    walk = Geometry.of(module)
    bias: Tensor | None = own.get("bias", module.bias)  # type: ignore[assignment]
    if form == "materialised" or (form == "merged" and (walk is None or not trains)):
        whole = factors.onto(weight)
        if trains and is_wide(module, x) and not _traced():
            return depthwise(module, x, whole, bias)  # type: ignore[arg-type]
        return stand_in(module, {**own, "weight": whole}).forward(x)
    if walk is not None and trains and not weight.requires_grad and not _traced():
        return updated(walk, x, weight, bias, factors, merged=form == "merged")
    y: Tensor = stand_in(module, own).forward(x)
    return beside(module, factors, x, y)


def _traced() -> bool:
    """Whether somebody takes the step apart: a compiler, or a transform of torch.func."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def may_write() -> bool:
    """Whether a product may be added into a layer's output, which nobody else has seen."""
    return not (torch.is_grad_enabled() or _traced())


def _cheapest(module: nn.Module, factors: Bottleneck, x: Tensor, trains: bool) -> Form:
    if torch.compiler.is_compiling():
        return "factored"  # one graph for every shape
    return Load.of(module, factors, x, trains).cheapest()


def beside(module: nn.Module, factors: Bottleneck, x: Tensor, y: Tensor) -> Tensor:
    """`y = layer(x)` with ΔW x added."""
    if not isinstance(module, nn.Conv2d):
        z = F.linear(x.reshape(-1, x.shape[-1]), factors.down)
        flat = y.reshape(-1, y.shape[-1])
        return _added(flat, factors.up, z).reshape(y.shape)
    return _added(y, factors.up, reduced(module, factors, x))


def _added(y: Tensor, up: Tensor, z: Tensor) -> Tensor:
    """Under autocast a layer's output and its channels may be of two types."""
    into = plus_ if may_write() else plus
    return into(y, up.to(y.dtype), z.to(y.dtype))


def reduced(module: nn.Conv2d, factors: Bottleneck, x: Tensor) -> Tensor:
    """The R channels of a convolution's update, `[B, R, H, W]`."""
    if factors.spatial is None:
        return walked(module, x, factors.down)
    if module.kernel_size == (1, 1):
        return walked(module, x, factors.down[:, :, None, None] * factors.spatial[:, None])
    z = F.conv2d(x, factors.down[:, :, None, None])
    return walked(module, z, factors.spatial[:, None], groups=factors.rank)


def walked(module: nn.Conv2d, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    """The layer's own geometry (stride, padding, dilation, a subclass's forward) with another weight."""
    if walk := Geometry.of(module):
        return walk.run(x, weight, groups=groups)
    out, inp = len(weight), weight.shape[1] * groups
    twin = stand_in(module, {"weight": weight, "bias": None}, groups=groups, in_channels=inp, out_channels=out)
    return twin.forward(x)

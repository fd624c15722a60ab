"""May an update be run beside a layer, y = f(W, x) + f(ΔW, x)? Only if f is linear in its weight."""

from __future__ import annotations

import torch
from torch import nn

from ..factors import Bottleneck
from ._stand_in import stand_in


def is_additive(module: nn.Module) -> bool:
    """Whether a layer's forward is linear in its weight, so that an update can run factored beside it.

    Layers that run torch's own forward are. A subclass with its own (timm's `Conv2dSame` pads at run time;
    standardised convolutions are not linear) is tried once on a small input, in double precision.
    """
    if isinstance(module, nn.Linear):
        return type(module).forward is nn.Linear.forward or _tried(module)
    if isinstance(module, nn.Conv2d):
        kind = type(module)
        own = kind.forward is not nn.Conv2d.forward or kind._conv_forward is not nn.Conv2d._conv_forward
        return not own or _tried(module)
    return False


def _tried(module: nn.Linear | nn.Conv2d) -> bool:
    if module.weight.device.type == "meta":
        return False
    dice = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=dice, dtype=torch.float64)

    out, inp, *kernel = module.weight.shape
    if isinstance(module, nn.Conv2d):
        x = random(1, module.in_channels, *(2 * d * k + 1 for d, k in zip(module.dilation, kernel, strict=True)))
    else:
        x = random(1, inp)
    update = Bottleneck(random(out, 2), random(2, inp, *kernel))
    first = random(out, inp, *kernel)
    try:
        sum_of_two = stand_in(module, {"weight": first + update.dense(), "bias": None}).forward(x)
        one = stand_in(module, {"weight": first, "bias": None}).forward(x)
        beside = stand_in(module, {"weight": update.dense(), "bias": None}).forward(x)
        return torch.allclose(sum_of_two, one + beside, rtol=1e-9, atol=1e-9)
    except Exception:
        # Whatever such a forward cannot do with other tensors, materialising does not ask of it.
        return False

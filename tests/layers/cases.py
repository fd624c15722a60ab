"""One row per layer kind; every factorisation, form and mixture of tasks is run on each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2d
from timm.models.vision_transformer import Attention as TimmAttention
from torch import nn

from taskfold.layers import Attention, Convolutions, Linears, Where

PROJECTIONS = ("query", "key", "value", "output")


class Separate(nn.Module):
    """Attention with query, key, value and output linears; 4 query heads, 2 for keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.head_dim = 3
        self.q_proj, self.o_proj = nn.Linear(8, 12), nn.Linear(12, 8, bias=False)
        self.k_proj, self.v_proj = nn.Linear(8, 6), nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = [m(x).unflatten(-1, (-1, 3)).transpose(1, 2) for m in (self.q_proj, self.k_proj, self.v_proj)]
        y = nn.functional.scaled_dot_product_attention(*heads, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class TorchAttention(nn.Module):
    """Torch's attention on one input."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **settings)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        others = [x, x] if self.attention._qkv_same_embed_dim else [torch.cat([x, x], -1), x]
        return self.attention(x, *others)[0]


class Cropped(nn.Conv2d):
    """A convolution that puts out a part of what it makes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input)[..., :-1, :-1]


class Windows(nn.Module):
    """A linear layer that sees four windows of each row, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.reshape(-1, *x.shape[2:])).reshape(*x.shape[:-1], 5)


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Input without the batch."""
    where: Where = field(default_factory=lambda: Convolutions(stem=True))
    additive: bool = True
    """Whether an update may run beside the layer."""


def conv(name: str, *args: int, shape: tuple[int, int] = (7, 6), **settings: object) -> Case:
    return Case(name, lambda: nn.Conv2d(*args, **settings), (args[0], *shape))  # type: ignore[arg-type]


attention = Attention(projections=PROJECTIONS)
CASES = [
    conv("conv-3x3", 4, 6, 3, padding=1),
    conv("conv-1x1", 4, 6, 1),
    conv("conv-1x1-stride", 4, 6, 1, stride=2, bias=False),
    conv("conv-1x1-padding", 4, 6, 1, padding=1),
    conv("conv-5x3", 4, 6, (5, 3), padding=(2, 0)),  # type: ignore[arg-type]
    conv("conv-stride-dilation", 4, 6, 3, stride=(2, 1), padding=2, dilation=(2, 1)),
    conv("conv-same-string", 4, 6, 3, padding="same", dilation=2),
    conv("conv-reflect", 4, 6, 3, padding=1, padding_mode="reflect"),
    conv("conv-groups", 4, 6, 3, padding=1, groups=2),
    conv("conv-depthwise", 6, 6, 3, stride=2, padding=1, groups=6),
    conv("conv-depthwise-multiplier", 3, 6, 3, groups=3),
    conv("conv-depthwise-5x5", 6, 6, 5, padding=2, groups=6),
    conv("conv-depthwise-3x7-stride", 6, 6, (3, 7), stride=(1, 2), padding=(0, 1), groups=6, bias=False),  # type: ignore[arg-type]
    conv("conv-depthwise-7x7-beyond-the-map", 6, 6, 7, padding=3, groups=6, shape=(3, 2)),
    conv("conv-one-pixel", 4, 6, 3, padding=1, shape=(1, 1)),
    Case("conv-cropped", lambda: Cropped(4, 6, 3, padding=1), (4, 7, 6)),
    Case("timm-same", lambda: Conv2dSame(4, 6, 3, stride=2), (4, 7, 6)),
    Case("timm-same-depthwise", lambda: Conv2dSame(6, 6, 3, stride=2, groups=6), (6, 7, 6)),
    Case("timm-standardised", lambda: ScaledStdConv2d(4, 6, 3, padding=1), (4, 7, 6), additive=False),
    Case("linear", lambda: nn.Linear(7, 5), (7,), Linears()),
    Case("linear-tokens", lambda: nn.Linear(7, 5, bias=False), (3, 7), Linears()),
    Case("linear-images", lambda: nn.Linear(7, 5), (3, 2, 7), Linears()),
    Case("linear-windows", Windows, (4, 3, 6), Linears()),
    Case("torch-attention", TorchAttention, (5, 8), attention, additive=False),
    Case("torch-attention-kv", lambda: TorchAttention(kdim=16, vdim=8), (5, 8), attention, additive=False),
    Case("timm-attention", lambda: TimmAttention(8, num_heads=2, qkv_bias=True), (5, 8), attention),
    Case("separate-attention", Separate, (5, 8), attention),
]

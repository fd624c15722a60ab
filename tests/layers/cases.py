"""One row per layer kind; every factorisation, form and mixture of tasks is run on each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2d
from timm.models.vision_transformer import Attention as TimmAttention
from torch import nn
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, GPT2Config
from transformers.pytorch_utils import Conv1D

from taskfold.layers import Attention, Convolutions, Embeddings, Linears, Recurrents, Where

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


class Words(nn.Module):
    """An embedding of the numbers that an input has, rounded to words; the gradient of the input is 0."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 5, **settings)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.table((x.detach() * 3).round().long() % 9) + 0 * x.unsqueeze(-1)


class GPT(nn.Module):
    """GPT-2's attention, whose linear layers are transformers' own."""

    def __init__(self) -> None:
        super().__init__()
        config = GPT2Config(n_embd=8, n_head=2, n_positions=8, attn_pdrop=0.0, resid_pdrop=0.0)
        config._attn_implementation = "sdpa"
        self.attention = GPT2Attention(config, layer_idx=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x)[0]


class Reader(nn.Module):
    """A recurrent layer without its state."""

    def __init__(self, kind: type[nn.RNNBase], **settings: object) -> None:
        super().__init__()
        self.reader = kind(5, 4, batch_first=True, **settings)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reader(x)[0]


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Input without the batch."""
    where: Where = field(default_factory=lambda: Convolutions(stem=True))
    additive: bool = True
    """Whether an update may run beside the layer."""


def conv(name: str, *args: int, shape: tuple[int, ...] = (7, 6), **settings: object) -> Case:
    return Case(name, lambda: nn.Conv2d(*args, **settings), (args[0], *shape))  # type: ignore[arg-type]


SIZES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}


def of_axes(kind: type[nn.Module], axes: int, name: str, *args: int, **settings: object) -> Case:
    """A convolution, transposed or not, over so many axes."""
    return Case(f"{name}-{axes}d", lambda: kind(*args, **settings), (args[0], *SIZES[axes]))


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
    *(
        of_axes(kind, axes, name, *args, **settings)  # type: ignore[arg-type]
        for axes, kind in ((1, nn.Conv1d), (3, nn.Conv3d))
        for name, args, settings in (
            ("conv", (4, 6, 3), {"padding": 1}),
            ("conv-point", (4, 6, 1), {"stride": 2}),
            ("conv-stride-dilation", (4, 6, 2), {"stride": 2, "padding": 1, "dilation": 2, "bias": False}),
            ("conv-same-string", (4, 6, 3), {"padding": "same"}),
            ("conv-circular", (4, 6, 3), {"padding": 1, "padding_mode": "circular"}),
            ("conv-groups", (4, 6, 3), {"groups": 2}),
            ("conv-depthwise", (6, 6, 3), {"groups": 6, "padding": 1}),
        )
    ),
    *(
        of_axes(kind, axes, name, *args, **settings)  # type: ignore[arg-type]
        for axes, kind in ((1, nn.ConvTranspose1d), (2, nn.ConvTranspose2d), (3, nn.ConvTranspose3d))
        for name, args, settings in (
            ("transposed", (4, 6, 3), {}),
            ("transposed-stride", (4, 6, 2), {"stride": 2, "bias": False}),
            ("transposed-output-padding", (4, 6, 3), {"stride": 2, "padding": 1, "output_padding": 1, "dilation": 2}),
            ("transposed-groups", (4, 6, 3), {"groups": 2}),
            ("transposed-point", (4, 6, 1), {}),
        )
    ),
    Case("transformers-conv1d", lambda: Conv1D(5, 7), (3, 7), Linears()),
    Case("gpt2-attention", GPT, (5, 8), attention),
    Case("gpt2-linears", GPT, (5, 8), Linears()),
    Case("embedding", Words, (4,), Embeddings()),
    Case("embedding-padding", lambda: Words(padding_idx=2), (4,), Embeddings()),
    Case("lstm", lambda: Reader(nn.LSTM), (3, 5), Recurrents(), additive=False),
    Case("gru", lambda: Reader(nn.GRU, bidirectional=True, num_layers=2), (3, 5), Recurrents(), additive=False),
    Case("rnn", lambda: Reader(nn.RNN), (3, 5), Recurrents(), additive=False),
    Case("torch-attention", TorchAttention, (5, 8), attention, additive=False),
    Case("torch-attention-kv", lambda: TorchAttention(kdim=16, vdim=8), (5, 8), attention, additive=False),
    Case("timm-attention", lambda: TimmAttention(8, num_heads=2, qkv_bias=True), (5, 8), attention),
    Case("separate-attention", Separate, (5, 8), attention),
]

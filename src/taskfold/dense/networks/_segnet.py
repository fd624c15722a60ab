"""SegNet: pooling keeps the places of maxima, and unpooling uses them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ...factors import check_whole
from ._base import Architecture, DenseNetwork

DEPTHS = (2, 2, 3, 3, 3)  # VGG-16's convolutions per stage
WIDTHS = (1, 2, 4, 8, 8)  # and their channels, in multiples of the width


@dataclass(frozen=True)
class SegNet(Architecture):
    """SegNet as for multi-task learning on NYUv2: VGG-16 and its mirror image are the backbone, heads are small.

    Badrinarayanan et al., "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation"; in the
    form of Liu et al., "End-to-End Multi-Task Learning with Attention": the first convolution after unpooling narrows
    (the original's last), and a head is a 3×3 and a 1×1 convolution, without a nonlinearity between them.

    Images may have any size from 2^stages × 2^stages pixels on; a row or column that pooling drops is unpooled
    as zeros. Convolutions are initialised as He et al. propose, biases at 0.

    Args:
        width: ≥ 1, the channels of the first stage and of the heads' input; VGG-16 has 64.
        stages: 1 to 5, the number of times that the image is halved; VGG-16 has 5, small images need fewer.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> import torch
        >>> network = SegNet(width=4, stages=2).build()
        >>> features = network.backbone(torch.rand(1, 3, 9, 14))
        >>> features.shape, network.head(13)(features).shape
        (torch.Size([1, 4, 9, 14]), torch.Size([1, 13, 9, 14]))
    """

    name: ClassVar[str] = "segnet"
    width: int = 64
    stages: int = 5

    def __post_init__(self) -> None:
        check_whole("width", self.width, 1)
        check_whole("stages", self.stages, 1, len(DEPTHS))

    def build(self) -> DenseNetwork:
        return DenseNetwork(SegNetBackbone(self.width, self.stages), self._head, self.name, self.as_json())

    def _head(self, channels: int) -> nn.Module:
        head = nn.Sequential(nn.Conv2d(self.width, self.width, 3, padding=1), nn.Conv2d(self.width, channels, 1))
        for part in head:
            _start(part, "linear")
        return head


class SegNetBackbone(nn.Module):
    """From images `[B, 3, H, W]` to features `[B, width, H, W]`."""

    def __init__(self, width: int, stages: int) -> None:
        super().__init__()
        widths = [width * times for times in WIDTHS[:stages]]
        into = [3, *widths[:-1]]  # a stage of the encoder; its mirror has as many channels, except for the image's 3
        self.encoder = nn.ModuleList(_stage(*one) for one in zip(into, widths, DEPTHS, strict=False))
        self.decoder = nn.ModuleList(_stage(*one) for one in zip(widths, [width, *into[1:]], DEPTHS, strict=False))

    def forward(self, images: Tensor) -> Tensor:
        least = 2 ** len(self.encoder)
        if min(images.shape[-2:]) < least:
            raise ValueError(
                f"images must be at least {least} × {least} pixels for {len(self.encoder)} stages of pooling, "
                f"found {images.shape[-2]} × {images.shape[-1]}; give larger images, or the network fewer stages"
            )
        x, pooled = images, []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, places = F.max_pool2d(x, 2, return_indices=True)
            pooled.append((places, size))
        for stage, (places, size) in zip(reversed(self.decoder), reversed(pooled), strict=True):
            x = stage(F.max_unpool2d(x, places, [2, 2], output_size=size))
        return x


def _stage(inp: int, out: int, depth: int) -> nn.Sequential:
    return nn.Sequential(_layer(inp, out), *(_layer(out, out) for _ in range(depth - 1)))


def _layer(inp: int, out: int) -> nn.Sequential:
    conv = nn.Conv2d(inp, out, 3, padding=1)
    _start(conv, "relu")
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out), relu=nn.ReLU(inplace=True)))


def _start(conv: nn.Module, before: str) -> None:
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    nn.init.kaiming_normal_(conv.weight, nonlinearity=before)  # type: ignore[arg-type]
    nn.init.zeros_(conv.bias)

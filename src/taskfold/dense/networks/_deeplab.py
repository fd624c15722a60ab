"""DeepLabv3+: any encoder, and a decoder for each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ...factors import check_whole
from ._base import Architecture, DenseNetwork
from ._encoder import Encoder, build_encoder, check_name, library
from ._encoder_weights import check_weights, load_encoder


@dataclass(frozen=True)
class DeepLab(Architecture):
    """An encoder as the backbone; a task's head is its DeepLabv3+ decoder. Both are segmentation-models-pytorch's.

    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation". Images of any
    size: if the output stride does not divide it, they are padded with zeros and the output is cut. In training, a
    batch of one image uses the running statistics for the one normalisation with a single value per channel
    (that of the pooled image).

    Args:
        encoder: segmentation-models-pytorch's name (`resnet18`, `mobilenet_v2`), or `tu-` and timm's name.
        output_stride: 8 or 16, the image's size over that of the encoder's last maps.
        width: ≥ 1, the channels of the decoder.
        rates: three dilations ≥ 1 of the spatial pyramid.
        dropout: 0 ≤ p < 1, behind the pyramid.
        weights: the encoder's weights. None: random. A path: a state dict of timm's or torchvision's such network,
            `.safetensors` or one of `torch.save`; a classifier in it is ignored. `packaged`: EfficientNet-lite0's
            from a package, for `encoder="tu-tf_efficientnet_lite0"`. Not read on the meta device.

    Raises:
        ValueError: a setting is out of range, the encoder is unknown, or weights do not fit it.
        FileNotFoundError: there is no such file of weights.
        ImportError: segmentation-models-pytorch, or the package of the weights, is not installed.

    Example:
        >>> import torch
        >>> network = DeepLab(width=8).build()
        >>> features = network.backbone(torch.rand(1, 3, 40, 56))
        >>> network.head(13).eval()(features).shape
        torch.Size([1, 13, 40, 56])
    """

    name: ClassVar[str] = "deeplab"
    encoder: str = "resnet18"
    output_stride: int = 16
    width: int = 256
    rates: Sequence[int] = (6, 12, 18)
    dropout: float = 0.5
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.output_stride not in (8, 16):
            raise ValueError(f"output_stride must be 8 or 16, found {self.output_stride!r}")
        check_whole("width", self.width, 1)
        if not isinstance(self.rates, list | tuple) or len(self.rates) != 3:
            raise ValueError(f"rates must be three dilations, found {self.rates!r}")
        object.__setattr__(self, "rates", tuple(check_whole("rates", rate, 1) for rate in self.rates))
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be 0 ≤ dropout < 1, found {self.dropout!r}")
        check_name(self.encoder)
        check_weights(self.encoder, self.weights)

    def build(self) -> DenseNetwork:
        encoder, channels = build_encoder(self.encoder, self.output_stride)
        meta = next(encoder.parameters()).is_meta
        normalisation = load_encoder(encoder, self.encoder, self.weights) if self.weights and not meta else None
        build = partial(DeepLabHead, self, channels)
        backbone = Encoder(encoder, self.output_stride)
        return DenseNetwork(backbone, build, self.name, self.as_json(), *(normalisation or ()))


class DeepLabHead(nn.Module):
    """From an `Encoder`'s output to `[B, channels, H, W]`, at the images' size."""

    def __init__(self, settings: DeepLab, encoder_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        smp = library()
        self.decoder: nn.Module = smp.decoders.deeplabv3.decoder.DeepLabV3PlusDecoder(
            encoder_channels=encoder_channels,
            encoder_depth=5,
            out_channels=settings.width,
            atrous_rates=settings.rates,
            output_stride=settings.output_stride,
            aspp_separable=True,
            aspp_dropout=settings.dropout,
        )
        self.output: nn.Module = smp.base.SegmentationHead(settings.width, channels, kernel_size=1, upsampling=4)
        smp.base.initialization.initialize_decoder(self.decoder)
        smp.base.initialization.initialize_head(self.output)
        pooled: Any = self.decoder.get_submodule("aspp.0").convs[-1]  # type: ignore[index]
        pooled[2] = NormOfFew(settings.width)

    def forward(self, features: list[Tensor]) -> Tensor:
        height, width = features[0].shape[-2:]
        return self.output(self.decoder(features))[..., :height, :width]


class NormOfFew(nn.BatchNorm2d):
    """BatchNorm that uses its running statistics if a batch has a single value per channel, hence no variance."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or input.numel() > input.shape[1]:
            return super().forward(input)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

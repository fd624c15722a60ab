"""Encoders of segmentation-models-pytorch, for images of any size."""

from __future__ import annotations

import difflib
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...data import require

UNIVERSAL = "tu-"


def library() -> Any:
    """segmentation-models-pytorch, imported when a network needs it, since that takes seconds.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("segmentation_models_pytorch", '"taskfold[dense]"')


class Encoder(nn.Module):
    """From images `[B, 3, H, W]` to the images, and feature maps of 1/2, 1/4, … of their size, rounded up.

    If the stride does not divide the images' size, zeros are added below and to the right for the maps.
    """

    def __init__(self, encoder: nn.Module, stride: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.stride = stride

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        missing = (0, -width % self.stride, 0, -height % self.stride)
        _, *maps = self.encoder(F.pad(images, missing) if any(missing) else images)
        return [images, *maps]


def check_name(name: str) -> None:
    """Checks that segmentation-models-pytorch has an encoder of that name.

    Raises:
        ValueError: it does not.
    """
    if name.startswith(UNIVERSAL):
        known = [UNIVERSAL + one for one in require("timm", '"taskfold[dense]"').list_models()]
        name = name.partition(".")[0]  # without the name of published weights
        kinds = "tu-NAME for a network of timm"
    else:
        known = library().encoders.get_encoder_names()
        kinds = "resnet18, resnet50, mobilenet_v2, …, or tu-NAME for a network of timm"
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise ValueError(
            f"encoder {name!r} is not known to segmentation-models-pytorch; give {kinds}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )


def build_encoder(name: str, stride: int) -> tuple[nn.Module, list[int]]:
    """An encoder with random weights, and the channels of its outputs.

    Args:
        name: segmentation-models-pytorch's name.
        stride: the image's size over that of its last maps.

    Raises:
        ValueError: there is none of that name, or it cannot have that stride.
    """
    check_name(name)
    try:
        encoder = library().encoders.get_encoder(name, weights=None, output_stride=stride)
    except (NotImplementedError, TypeError, AssertionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"encoder {name!r} cannot be built with output_stride={stride} ({reason}); "
            "choose another encoder, such as resnet18, or another output stride"
        ) from error
    return encoder, list(encoder.out_channels)

"""Loads published weights into an encoder; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ...backbones import BackboneError, fill, load, read_state
from ._base import Channels3
from ._encoder import UNIVERSAL

PACKAGED = "packaged"
_PACKAGED_AS = "packaged:efficientnet-lite0"
_PACKAGED_ENCODER = "tu-tf_efficientnet_lite0"
_CLASSIFIERS = ("fc", "classifier", "head", "last_linear", "conv_head", "bn2")
"""Parts of timm's and torchvision's networks after the feature maps; `layer1.0.bn2` is not `bn2`."""


def check_weights(encoder: str, weights: str | None) -> None:
    """Checks that the weights exist and are for that encoder, as far as known before they are read.

    Raises:
        ValueError: packaged weights are of another network.
        FileNotFoundError: there is no such file.
    """
    if weights == PACKAGED:
        if encoder != _PACKAGED_ENCODER:
            raise ValueError(
                f"weights='packaged' are those of EfficientNet-lite0: encoder must be {_PACKAGED_ENCODER!r}, "
                f"found {encoder!r}; or give the path of a file with weights"
            )
    elif weights is not None and not Path(weights).expanduser().is_file():
        raise FileNotFoundError(
            f"weights: there is no file {weights!r}; give a state dict's path, 'packaged', or None for random weights"
        )


def load_encoder(encoder: nn.Module, name: str, weights: str) -> tuple[Channels3, Channels3] | None:
    """Load an encoder's weights from a file, or from a package.

    Args:
        encoder: segmentation-models-pytorch's encoder; changed only if everything fits.
        name: segmentation-models-pytorch's name of it.
        weights: the path of a state dict in timm's or torchvision's naming, with its classifier or without; or
            `packaged`.

    Returns:
        Mean and std for the normalisation of images, if known.

    Raises:
        BackboneError: the file cannot be read, or names or shapes do not fit; the message has them.
        ImportError: the package is not installed.
    """
    normalisation = None
    if weights == PACKAGED:
        loaded = load(_PACKAGED_AS)
        assert loaded.preprocessing is not None
        normalisation = loaded.preprocessing["mean"], loaded.preprocessing["std"]
        state, origin = loaded.network.state_dict(), _PACKAGED_AS
    else:
        state, origin = read_state(Path(weights).expanduser()), weights
    network = encoder.get_submodule("model") if name.startswith(UNIVERSAL) else encoder
    parts = {part for part, _ in network.named_children()}
    behind = {part for part in _CLASSIFIERS if part not in parts}
    mine = {key: tensor for key, tensor in state.items() if key.partition(".")[0] not in behind}
    if not mine:
        raise BackboneError(f"{origin} holds nothing but a classifier; give the weights of a {name}")
    fill(network, mine, origin)
    return normalisation

from __future__ import annotations

import difflib
import warnings
from typing import Any

from torch import nn

from ._loaded import BackboneError, LoadedBackbone, Request, cannot_fetch, construct, extra
from ._weights import load_weights


def torchvision(request: Request) -> LoadedBackbone:
    """`torchvision:NAME`, a classification network; weights from torchvision or a file."""
    models, name = extra("torchvision.models", "vision"), request.name
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; torchvision.models.list_models() lists them"
        raise BackboneError(f"backbone 'torchvision:{name}': there is no classification model of that name{hint}")
    default = models.get_model_weights(name).DEFAULT

    def build() -> Any:
        with warnings.catch_warnings():
            # GoogLeNet and Inception warn of another random initialisation.
            warnings.simplefilter("ignore", FutureWarning)
            return models.get_model(name, weights=default if request.published else None)

    try:
        network = construct(build, request.meta)
    except OSError as error:
        raise cannot_fetch(f"torchvision:{name}", error) from error
    _drop_auxiliary(network)
    classifier, width = _drop_classifier(network)
    if request.weights:
        load_weights(network, request.weights, classifier)
    network.num_features = width  # the network determines the width of its features
    return LoadedBackbone(network, num_features=width, preprocessing=_describe(default.transforms()))


def _drop_classifier(network: nn.Module) -> tuple[str, int]:
    """Removes the last linear or convolutional layer; returns its path and its number of inputs."""
    path, last = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)][
        -1
    ]
    parent, _, leaf = path.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    return path, last.in_features if isinstance(last, nn.Linear) else last.in_channels


def _drop_auxiliary(network: nn.Module) -> None:
    """Removes GoogLeNet's and Inception's inner classifiers, which run in training only."""
    for leaf in ("aux1", "aux2", "AuxLogits"):
        if hasattr(network, leaf):
            setattr(network, leaf, None)
    if hasattr(network, "aux_logits"):
        network.aux_logits = False  # type: ignore[assignment]


def _describe(transform: Any) -> dict[str, Any]:
    side = transform.crop_size[0]
    return {
        "input_size": (3, side, side),
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
        "interpolation": transform.interpolation.value,
    }

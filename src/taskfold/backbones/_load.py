"""From a specification such as `timm:resnet50` to a network."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch

from ..files import PUBLISHED
from ..functions import is_importable
from ..reach import at_once
from ..tasks import note_source
from ._descriptions import DESCRIBED
from ._hugging_face import hugging_face
from ._loaded import BackboneError, LoadedBackbone, Request, Scheme
from ._packaged import packaged
from ._python_path import python_path
from ._timm import timm
from ._torchvision import torchvision

SCHEMES: Mapping[str, Scheme] = {"timm": timm, "torchvision": torchvision, "hf": hugging_face, "packaged": packaged}


def load(
    spec: str,
    *,
    weights: str | Path | None = None,
    pretrained: bool = True,
    device: str | torch.device = "cpu",
    base: str | Path = ".",
) -> LoadedBackbone:
    """Load a backbone, its classifier removed, in evaluation mode.

    Args:
        spec: `timm:NAME`, `torchvision:NAME`, `hf:NAME` or `hf:FOLDER`, `packaged:efficientnet-lite0`, or a Python
            path to a function without arguments that returns a module or a `LoadedBackbone`:
            `package.module:function` or `path/to/file.py:function`.
        weights: a local state dict, `.safetensors`, or `.pth`, `.pt`, `.bin` holding tensors only.
        pretrained: without `weights`, load the published ones (from the library's own hub or cache); False: random.
        device: the network's device; `meta`: the architecture only, for any `pretrained`.
        base: the folder that relative paths in `spec` and `weights` start from.

    Raises:
        BackboneError: there is no such scheme or network, or weights cannot be downloaded or do not fit.
        FileNotFoundError: a user's file is missing.
        ImportError: an extra is not installed.

    Example:
        >>> load("timm:resnet18", device="meta").num_features
        512
    """
    device, folder = torch.device(device), Path(base)
    meta = device.type == "meta"
    if meta and weights is not None:
        raise BackboneError(f"backbone {spec!r}: weights must be left out on the meta device, found {str(weights)!r}")
    file = None if weights is None else folder / Path(weights).expanduser()
    if file is not None and not file.is_file():
        raise FileNotFoundError(f"backbone {spec!r}: there is no weights file {str(file)!r}")
    scheme, name = _scheme(spec)
    request = Request(name, file, pretrained, meta, folder)
    with at_once() if _asks_the_hub(scheme, request) else nullcontext():
        loaded = scheme(request)
    network = loaded.network.eval() if meta else loaded.network.eval().to(device)
    if not meta:
        note_source(network, spec, _weights(scheme, request), loaded.preprocessing)
    return dataclasses.replace(loaded, network=network, name=spec)


def _weights(scheme: Scheme, request: Request) -> Path | str | None:
    """The record of the weights in task files."""
    if request.weights is not None or not request.published or scheme is python_path:
        return request.weights
    return None if (request.base / request.name).is_dir() else PUBLISHED


def _asks_the_hub(scheme: Scheme, request: Request) -> bool:
    if scheme not in (timm, hugging_face) or (request.base / request.name).is_dir():
        return False
    return request.published or (scheme is hugging_face and request.name not in DESCRIBED)


def _scheme(spec: str) -> tuple[Scheme, str]:
    head, colon, name = spec.partition(":")
    if colon and name and head in SCHEMES:
        return SCHEMES[head], name
    if is_importable(spec):
        return python_path, spec
    near = difflib.get_close_matches(head, SCHEMES, 1)
    hint = f"; did you mean {near[0]}:{name}?" if near and name else ""
    raise BackboneError(
        f"backbone {spec!r} is not known: give {', '.join(f'{known}:NAME' for known in SCHEMES)}, "
        f"package.module:function or path/to/file.py:function{hint}"
    )

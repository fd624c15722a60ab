from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ._loaded import BackboneError, LoadedBackbone, Request, cannot_fetch, construct, extra
from ._weights import load_weights

_INTERPOLATIONS = {"nearest", "bilinear", "bicubic"}


def timm(request: Request) -> LoadedBackbone:
    """`timm:NAME`, also `timm:hf-hub:OWNER/NAME`; weights from the hub or a file."""
    library, name = extra("timm", "vision"), request.name
    on_hub = name.startswith(("hf-hub:", "hf_hub:"))
    if not on_hub and not library.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, library.list_models(), 3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; timm.list_models() lists them"
        raise BackboneError(f"backbone 'timm:{name}': timm has no model of that name{hint}")

    def build() -> Any:
        return library.create_model(name, pretrained=request.published, num_classes=0)

    try:
        network = construct(build, request.meta)
    except (OSError, RuntimeError) as error:
        if on_hub or request.published:
            raise cannot_fetch(f"timm:{name}", error) from error
        raise
    config = network.pretrained_cfg
    if request.weights:
        load_weights(network, request.weights, _first(config.get("classifier")))
    width = getattr(network, "head_hidden_size", None) or network.num_features
    return LoadedBackbone(network, num_features=width, preprocessing=describe(config))


def describe(config: Mapping[str, Any]) -> dict[str, Any]:
    """The input's properties in a timm configuration."""
    found = {key: config[key] for key in ("input_size", "mean", "std", "interpolation") if config.get(key)}
    if found.get("interpolation") not in _INTERPOLATIONS:
        found.pop("interpolation", None)
    return found


def _first(classifier: object) -> str | None:
    if isinstance(classifier, str):
        return classifier
    return classifier[0] if isinstance(classifier, tuple | list) and classifier else None

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..tasks import feature_width
from ._loaded import BackboneError, LoadedBackbone, Request, cannot_fetch, construct, extra
from ._weights import fill, read_state

_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def hugging_face(request: Request) -> LoadedBackbone:
    """`hf:NAME` from the hub or its cache, `hf:FOLDER` from a folder with a config.json; the model without its head.

    Features are the pooler's if its weights were trained, else the class token's, else the mean over positions.
    """
    library = extra("transformers", "text")
    folder = request.base / Path(request.name).expanduser()
    place = str(folder) if folder.is_dir() else request.name
    if request.name.startswith((".", "/", "~")) and not folder.is_dir():
        raise BackboneError(f"backbone 'hf:{request.name}': there is no folder {str(folder)!r}")
    pooled = True
    try:
        config = library.AutoConfig.from_pretrained(place)
        if request.published:
            network, found = library.AutoModel.from_pretrained(place, output_loading_info=True)
            pooled = _pooler_is_trained(request.name, found)
        else:
            network = construct(lambda: library.AutoModel.from_config(config), request.meta)
    except (OSError, ValueError) as error:
        if isinstance(error, BackboneError):
            raise
        raise cannot_fetch(f"hf:{request.name}", error) from error
    if request.weights:
        pooled = _load(network, request.weights)
    return LoadedBackbone(
        network,
        num_features=feature_width(network),
        preprocessing=_describe(library, place, config) if not request.meta else None,
        features=_features(network, pooled),
    )


def from_pooler(output: object) -> Tensor:
    """`pooler_output`, flat."""
    return output.pooler_output.flatten(1)  # type: ignore[attr-defined]


def first_token(output: object) -> Tensor:
    """The class token of `last_hidden_state`."""
    return output.last_hidden_state[:, 0]  # type: ignore[attr-defined]


def mean(output: object) -> Tensor:
    """The mean of `last_hidden_state` over all positions: `[B, positions, F]` or `[B, F, H, W]`."""
    hidden: Tensor = output.last_hidden_state  # type: ignore[attr-defined]
    return hidden.mean((2, 3)) if hidden.dim() == 4 else hidden.mean(1)


def _features(network: nn.Module, pooled: bool) -> Callable[[object], Tensor]:
    if pooled and getattr(network, "pooler", None) is not None:
        return from_pooler
    return first_token if any(name.endswith("cls_token") for name, _ in network.named_parameters()) else mean


def _pooler_is_trained(name: str, found: Any) -> bool:
    missing = sorted(str(key) for key in found["missing_keys"])
    if absent := [key for key in missing if not key.startswith("pooler.")]:
        raise BackboneError(f"backbone 'hf:{name}': its weights lack {len(absent)} tensors, such as {absent[0]}")
    return not missing


def _load(network: Any, path: Path) -> bool:
    """Weights with or without a head; whether a pooler is among them."""
    state, prefix = read_state(path), f"{network.base_model_prefix}."
    state = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)} or state
    pooler = {key: tensor for key, tensor in network.state_dict().items() if key.startswith("pooler.")}
    fill(network, {**pooler, **state}, str(path))
    return pooler.keys() <= state.keys()


def _describe(library: Any, place: str, config: Any) -> dict[str, Any] | None:
    """What the image processor beside the model says, for models of images."""
    side = getattr(config, "image_size", None)
    found: dict[str, Any] = {"input_size": (3, side, side)} if isinstance(side, int) else {}
    if not (Path(place) / "preprocessor_config.json").is_file():
        return found or None
    settings, _ = library.ImageProcessingMixin.get_image_processor_dict(place)
    found |= {key: tuple(settings[f"image_{key}"]) for key in ("mean", "std") if settings.get(f"image_{key}")}
    if settings.get("resample") in _RESAMPLING:
        found["interpolation"] = _RESAMPLING[settings["resample"]]
    size = settings.get("size") or {}
    if isinstance(size, dict) and (height := size.get("height") or size.get("shortest_edge")):
        found.setdefault("input_size", (3, height, height))
    return found or None

from __future__ import annotations

from pathlib import Path
from typing import Any

_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def image_settings(library: Any, place: str, config: Any) -> dict[str, Any] | None:
    """The settings of the image processor beside the model, for models of images."""
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

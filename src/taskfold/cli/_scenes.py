"""Predictions of several tasks on the same images, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._ready import Shown

PREDICTED = "prediction"
"""The heading of predictions."""


def merged_scenes(shown: Mapping[str, Shown]) -> dict[str, Any] | None:
    """Merge tasks' scenes into one part of a results document; images of several tasks appear once."""
    images: dict[str, dict[str, Any]] = {}
    for one in shown.values():
        for scene in one.scenes:
            known = images.setdefault(f"{scene['name']} {scene['image']}", {**scene, "views": []})
            known["views"] = [*known["views"], *scene["views"]]
    if not images:
        return None
    legends = [one.legend for one in shown.values() if one.scenes]
    note = "Images that were held out; they are evenly spaced in the test data."
    return {"note": note, "methods": [PREDICTED], "legends": legends, "images": list(images.values())}

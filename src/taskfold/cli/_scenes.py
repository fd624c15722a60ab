"""What several tasks show of the same images, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._ready import Shown

PREDICTED = "prediction"
"""Heads the pictures of what a task says."""


def merged_scenes(shown: Mapping[str, Shown]) -> dict[str, Any] | None:
    """One part of a results document from what tasks show; images that several of them show stand there once."""
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

"""Records of dense tasks: pictures of targets and predictions, and their legends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dense import Kind
from ..dense.colours import RAMP, class_colours
from ..dense.kinds import Picture
from ._picture import encode_png

SIDE = 160
"""The largest side of a picture, pixels."""


def scene_record(name: str, image: Tensor, views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An image and its views: an entry of the document's `scenes`.

    Args:
        name: the image's name.
        image: `[3, H, W]`, 0 to 1.
        views: results of `view_record`.
    """
    pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    return {"name": name, "image": _png(pixels), "views": list(views)}


def view_record(
    task: str, kind: Kind, target: Tensor | None, predictions: Mapping[str, Tensor], texts: Mapping[str, str] = {}
) -> dict[str, Any]:
    """The view of an image in one task.

    Args:
        task, kind: the task's name and kind.
        target: `[target_channels, H, W]`; None: unknown.
        predictions: by method, in the form of a target.
        texts: words below a method's picture.
    """
    scale = None if target is None else kind.scale(target)
    drawn = {
        method: {"image": _png(kind.picture(said, scale)), "text": texts.get(method, "")}
        for method, said in predictions.items()
    }
    view: dict[str, Any] = {"task": task, "predictions": drawn}
    if target is not None:
        view["target"] = _png(kind.picture(target, scale))
    return view if scale is None else {**view, "ends": scale}


def legend_record(task: str, kind: Kind, maps: Sequence[Tensor]) -> dict[str, Any]:
    """The legend of a task's pictures.

    Args:
        task, kind: the task's name and kind.
        maps: the shown targets and predictions: the legend has only their classes.
    """
    return {"task": task, **LEGENDS.get(kind.name, _nothing)(kind, maps)}


def _classes(kind: Kind, maps: Sequence[Tensor]) -> dict[str, Any]:
    names, colours = getattr(kind, "labels", ()), class_colours()
    there = sorted({int(value) for one in maps for value in one.unique() if kind.valid(value.view(1, 1, 1)).any()})
    listed = [{"name": names[n] if names else str(n), "colour": _hex(colours[n])} for n in there]
    return {"classes": listed}


def _metres(kind: Kind, maps: Sequence[Tensor]) -> dict[str, Any]:
    del kind, maps
    # Near is bright, and the ramp goes from dark to bright.
    return {"bar": {"colours": [_hex(colour) for colour in RAMP[::-1]], "unit": "m"}}


def _directions(kind: Kind, maps: Sequence[Tensor]) -> dict[str, Any]:
    """A ball, with the normals of its surface."""
    del maps
    side = 64
    y, x = torch.meshgrid(torch.linspace(1, -1, side), torch.linspace(-1, 1, side), indexing="ij")
    squared = x.square() + y.square()
    ball = torch.stack([x, y, (1 - squared).clamp(min=0).sqrt()]) * (squared < 1)
    return {"picture": _png(kind.picture(ball)), "text": "as on this ball: red to the right, green up, blue to the eye"}


def _nothing(kind: Kind, maps: Sequence[Tensor]) -> dict[str, Any]:
    del kind, maps
    return {}


LEGENDS: Mapping[str, Callable[[Kind, Sequence[Tensor]], dict[str, Any]]] = {
    "segmentation": _classes,
    "depth": _metres,
    "normals": _directions,
}
"""The legends by kind of target; other kinds need none."""


def _png(pixels: Picture) -> str:
    step = -(-max(pixels.shape[:2]) // SIDE)
    return encode_png(np.ascontiguousarray(pixels[::step, ::step]))


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in colour)

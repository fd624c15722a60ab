"""Images with targets and predictions, as a report shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import MultiTask
from ..dense import DenseSet, Kind
from ..dense._colours import RAMP, class_colours
from ..dense.kinds import Picture
from ..report.record import encode_png
from ._dense_scores import outputs_of
from ._dense_seen import Seen
from ._ready import Shown
from ._scenes import PREDICTED

SIDE = 160
"""Largest side of a picture, pixels."""


def scenes_of(model: MultiTask, name: str, seen: Seen, samples: DenseSet, count: int) -> Shown:
    """A few images from all over the set, and what a task says to them.

    Args:
        model: with the task.
        name: of the task.
        seen: how it sees them.
        samples: with its target.
        count: how many, at most.
    """
    kind, data = seen.kind, seen.tensors(samples)
    count = min(count, len(data))
    scenes: list[dict[str, Any]] = []
    maps: list[Tensor] = []
    for index in (n * len(data) // count for n in range(count)):
        sample = data[index]
        target = sample.targets[name]
        said = kind.predict(outputs_of(model, [name], sample.image[None])[name])[0]
        drawn, true = kind.pictures(said, target)
        view: dict[str, Any] = {"task": name, "target": _png(true), "predictions": {PREDICTED: _png(drawn)}}
        scale = kind.scale(target)
        image = (data.image(sample.image).permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        scenes.append(
            {"name": sample.name, "image": _png(image), "views": [view if scale is None else {**view, "ends": scale}]}
        )
        maps += [said, target]
    legend = LEGENDS.get(kind.name, _nothing)(kind, maps)
    return Shown(scenes=scenes, legend={"task": name, **legend})


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
    del kind, maps
    return {"text": "red, green and blue are x, y and z of the unit vector, from −1 (dark) to 1 (bright)"}


def _nothing(kind: Kind, maps: Sequence[Tensor]) -> dict[str, Any]:
    del kind, maps
    return {}


LEGENDS: Mapping[str, Callable[[Kind, Sequence[Tensor]], dict[str, Any]]] = {
    "segmentation": _classes,
    "depth": _metres,
    "normals": _directions,
}
"""How to read the pictures of a kind of target; without an entry they need no words."""


def _png(pixels: Picture) -> str:
    step = -(-max(pixels.shape[:2]) // SIDE)
    return encode_png(np.ascontiguousarray(pixels[::step, ::step]))


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in colour)

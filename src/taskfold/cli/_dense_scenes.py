"""Images with targets and predictions, for a report."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import MultiTask
from ..dense import DenseSet
from ..report.dense_record import legend_record, scene_record, view_record
from ._dense_scores import outputs_of
from ._dense_seen import Seen
from ._ready import Shown
from ._scenes import PREDICTED


def scenes_of(model: MultiTask, name: str, seen: Seen, samples: DenseSet, count: int) -> Shown:
    """Some images from all over the set, with a task's predictions."""
    kind, data = seen.kind, seen.tensors(samples)
    count = min(count, len(data))
    scenes: list[dict[str, Any]] = []
    maps: list[Tensor] = []
    for index in (n * len(data) // count for n in range(count)):
        sample = data[index]
        target = sample.targets[name]
        said = kind.predict(outputs_of(model, [name], sample.image[None])[name])[0]
        view = view_record(name, kind, target, {PREDICTED: said})
        scenes.append(scene_record(sample.name, data.image(sample.image), [view]))
        maps += [said, target]
    return Shown(scenes=scenes, legend=legend_record(name, kind, maps))

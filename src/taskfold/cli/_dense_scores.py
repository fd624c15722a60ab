"""Scores of a dense task on held-out data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from .. import MultiTask
from ..dense import DenseBatch, DenseSample, DenseScores, DenseSet, DenseTensors, Kind, Protocol
from ..evaluate import evaluating, where
from ._dense_seen import Seen
from ._ready import Tested


def scored(model: MultiTask, name: str, seen: Seen, samples: DenseSet, batch_size: int) -> dict[str, float]:
    """All scores of a task, at the size of its preprocessing."""
    protocol, device = Protocol({name: seen.kind}), where(model, name)
    scores = DenseScores(protocol, device)
    with evaluating(model):
        for batch in batches(protocol, seen.tensors(samples), batch_size):
            moved = batch.to(device)
            scores.update({name: model(moved.images, task=name)}, moved)
    return scores.result()[name]


def batches(protocol: Protocol, data: DenseTensors, size: int) -> Iterator[DenseBatch]:
    """Batches of at most `size` consecutive images of one size."""
    waiting: list[DenseSample] = []
    for index in range(len(data)):
        sample = data[index]
        if waiting and (len(waiting) == size or sample.size != waiting[0].size):
            yield protocol.collate(waiting)
            waiting = []
        waiting.append(sample)
    yield protocol.collate(waiting)


def tested(kind: Kind, scores: dict[str, float], count: int, split: str) -> Tested:
    """The scores in the form that all commands use."""
    # Scores of which more is better are shares: of pixels, or of classes' overlap.
    others = frozenset(name for name in scores if not kind.higher_is_better.get(name))
    title = kind.name.capitalize()
    metrics = {kind.main: scores[kind.main]} | scores
    details = {"target": kind.name, "main": kind.main, **scores, "count": count, "split": split}
    found = Tested(
        None, metrics, details, {}, count, "images", others, title, split, kind.titles, kind.higher_is_better
    )
    columns = {found.title(name): found.written(name, 2) for name in metrics}
    return replace(found, columns={"target": kind.name, "images": f"{count:,}"} | columns)


def outputs_of(model: MultiTask, names: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """Outputs of tasks for images `[B, 3, H, W]`, at their size: `[B, channels, H, W]` each, on the CPU."""
    with evaluating(model):
        found = model(images.to(where(model, names[0])), task=list(names), broadcast=True)
        return {name: output.float().cpu() for name, output in found.items()}

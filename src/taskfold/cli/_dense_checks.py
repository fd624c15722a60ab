"""Checks of a dense task before it is trained."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch
from torch import nn

from ..backbones import LoadedBackbone
from ..config import DenseSettings, LoadedNetwork, TaskPart
from ..dense import DenseData, DenseSource
from ._dense_seen import Seen
from ._dense_sets import sizes_of
from ._output import FAULTS, UserError
from ._ready import PlacedError, Shelf

LEAST = 2


def heads_of(loaded: LoadedBackbone) -> Callable[[int], nn.Module]:
    """A function from a number of channels to a new head of the network."""
    if not isinstance(loaded, LoadedNetwork):
        raise UserError(
            f"{loaded.name or 'the backbone'} has no heads that give every pixel an output; dense targets need a "
            "network for them: backbone: {network: segnet}, or {network: deeplab, encoder: resnet18}"
        )
    return loaded.heads


def read_once(source: DenseSource, key: str, shelf: Shelf) -> DenseData:
    """The data of a source; data and errors are cached."""
    if key not in shelf:
        try:
            shelf[key] = source.load()
        except FAULTS as error:
            shelf[key] = error
    if isinstance(shelf[key], Exception):
        raise shelf[key]
    return shelf[key]


@torch.no_grad()
def try_sizes(loaded: LoadedBackbone, seen: Seen, settings: DenseSettings, data: DenseData) -> None:
    """Checks that images form batches, and are large enough for the network."""
    crop = settings.augment and settings.augment.crop
    for split, samples in {"train": data.train, "val": data.val}.items():
        found = {crop} if crop and split == "train" else {seen.size} if seen.size else sizes_of(samples)
        if len(found) > 1:
            some = ", ".join(f"{height} × {width}" for height, width in sorted(found)[:3])
            text = f"{split} has images of {len(found)} sizes ({some}, …); give them one: size: [height, width]"
            raise PlacedError("dense", text)
        loaded.network(torch.zeros(1, 3, *found.pop()))


def check_enough(name: str, target: str, data: DenseData) -> None:
    """Checks that a batch can have two images."""
    if (count := data.train.counts[target]) < LEAST:
        raise ValueError(
            f"task {name!r}: {count} training image has {target}; training needs at least {LEAST}: give more, or leave "
            "the task out"
        )


def no_target(target: str, task: TaskPart, data: DenseData) -> str:
    """The error that the data lack a target."""
    assert isinstance(task.source, DenseSource)
    near = difflib.get_close_matches(target, list(data.kinds), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    there = f"{task.source.origin} has {', '.join(data.kinds)}{hint}"
    if task.target is None:
        return f"is missing, and the task's name, {target!r}, is none of its data: {there}"
    return f"must be one that the data have, found {target!r}; {there}"

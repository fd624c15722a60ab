"""Single passes of the plain network, of which notes are taken."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..layers import Notes, OfTasks, Origins, Selection, Told, Tracers, selecting
from ._nested import Nested
from ._rows import Batch

Passed = tuple[Origins, Notes, Any]
"""What a pass has read, its notes, and its output."""


@torch.no_grad()
def noted(
    network: nn.Module,
    batch: Batch,
    origins: Told | None = None,
    tracers: Tracers | None = None,
    index: Tensor | None = None,
) -> tuple[Notes, Any]:
    """Runs a pass without tasks and takes notes; all such passes use the same random numbers.

    Args:
        network: the skeleton.
        batch: its inputs.
        origins: records the numbers that Python reads, or follows the dependence on the input.
        tracers: numbers that layers add to their outputs.
        index: the rows of the tracers' batch in this pass.
    """
    notes = Notes(batch.rows, origins, tracers, index)
    following: AbstractContextManager[Any] = nullcontext() if origins is None else origins
    devices = {leaf.device for leaf in batch.tensors if leaf.is_cuda}
    args, kwargs = (mine := batch.copied()).arguments()
    if isinstance(origins, Origins):
        shared = {id(leaf) for leaf, place in zip(mine.leaves, mine.places, strict=True) if place is None}
        origins.follow([leaf for leaf in Nested.of((args, kwargs))[0] if isinstance(leaf, Tensor)], shared)
    with torch.random.fork_rng(list(devices)), selecting(Selection(OfTasks(()), None, False, noting=notes)):
        with following:
            output = network(*args, **kwargs)
        return notes, output


def passed_by(network: nn.Module, batch: Batch, origins: Origins, tracers: Tracers | None, rows: Tensor) -> Passed:
    """A pass of some rows; it is followed if it tells Python other numbers, to know by which numbers of the input."""
    part, mine = batch.take(rows), {*rows.tolist()}
    if not (origins.decisions or origins.left):
        return origins, *noted(network, part, None, tracers, rows)
    if not any(mine.issubset(one.tolist()) for one in origins.otherwise.values()):  # those decide otherwise
        made = noted(network, part, told := Told(), tracers, rows)
        if told.like(origins):
            return origins, *made
    return (following := Origins(len(rows))), *noted(network, part, following, tracers, rows)

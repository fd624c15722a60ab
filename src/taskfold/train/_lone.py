"""Checks before the first step that no task has a single row in a batch that BatchNorm cannot train on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate.utils import send_to_device

from ..kinds import OneValueError
from ._job import Job

_TORCH = "Expected more than 1 value per channel"
"""The beginning of Torch's own message, from BatchNorm in a task's head."""


def check_lone_rows(job: Job) -> None:
    """Checks that no batch holds a single row of a task that can't train on one.

    Runs a single row of each task, if tasks have running statistics, and restores these.

    Raises:
        ValueError: a batch does; the message names the task.
    """
    if len(job.sets) == 1 or not job.moves.buffers():
        return
    found = {number: error for number in range(len(job.sets)) if (error := _tried(job, number)) is not None}
    if not found:
        return
    for number, epoch, batch in _lone_rows(job):
        if number in found:
            names = next(names for n, names in enumerate(job.sets) if n == number)
            raise ValueError(
                f"task {names[0]!r} has a single row in a batch (batch {batch + 1} of pass {epoch + 1}, as for "
                f"seed={job.settings.seed}), and can't train on one: {found[number]}. Give it more rows in each batch "
                "(a larger batch_size, sampling='uniform'), train it alone, or choose a method without "
                "BatchNorm of its own (norm=False)"
            )


def _tried(job: Job, number: int) -> ValueError | None:
    """BatchNorm's error on a single row of a data set; None: there is none."""
    one = [*job.sets.values()][number]
    batch = send_to_device(job.objective.collate([one.unaugmented[0]]), job.device)
    try:
        with passing(job):
            job.objective.losses(job.model, batch, [number], job.members[number])
    except ValueError as error:
        return error if isinstance(error, OneValueError) or _TORCH in str(error) else None
    return None


@contextmanager
def passing(job: Job) -> Iterator[None]:
    """Run a block in training mode without gradients; running statistics are restored."""
    kept = [(buffer, buffer.detach().clone()) for buffer in job.moves.buffers()]
    job.model.train(True)
    try:
        with torch.no_grad(), job.accelerator.autocast():
            yield
    finally:
        job.model.train(False)
        for buffer, before in kept:
            buffer.data.copy_(before)


def _lone_rows(job: Job) -> Iterator[tuple[int, int, int]]:
    """Data sets with a single row in this process's share of a batch: the data set's number, the pass, the batch."""
    batches, offsets = job.batches(job.mixture), job.mixture.offsets
    plan = job.plan(len(batches))
    for epoch in range(-(-plan.steps // plan.batches)):
        batches.go_to(epoch, 0, min(plan.batches, plan.steps - epoch * plan.batches))
        for batch, keys in enumerate(batches):
            picks = np.array([pick for _, pick in keys]) % offsets[-1]
            counts = np.bincount(np.searchsorted(offsets, picks, side="right") - 1)
            for number in np.flatnonzero(counts == 1):
                yield int(number), epoch, batch

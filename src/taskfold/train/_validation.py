"""A task on its validation data, shared out over the processes."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader

from ..evaluate import Tally
from ..evaluate._run import count, evaluating
from ..model import TaskView
from ._job import Job
from ._processes import send, total


def validate(job: Job, view: TaskView, loader: DataLoader[Any]) -> dict[str, float]:
    """`val_loss` and `val_accuracy` over every sample once; the same numbers in every process."""
    send(job.accelerator, view, buffers_only=True)
    tally = Tally(job.val_loss)
    with evaluating(job.model), job.accelerator.autocast():
        for inputs, targets in loader:
            count(tally, view, inputs, targets, job.device, job.name)
    metrics = tally.result(total=lambda tensor: total(job.accelerator, tensor))
    return {"val_loss": metrics.loss, "val_accuracy": metrics.accuracy}

"""Inputs with a class index each: how they are batched, their loss, and their accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import default_collate

from ..evaluate import Loss, check_targets
from ..model import MultiTask
from ._seams import OUTPUTS, Seams


@dataclass(frozen=True)
class Labelled:
    """A batch of inputs and class indices.

    Attributes:
        inputs: `[B, …]`.
        targets: `[B]`.
        known: the targets where they were collated: looking at them there costs no wait for a GPU.
    """

    inputs: Tensor
    targets: Tensor
    known: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Labelled:
        """The same on a device."""
        inputs, targets = (tensor.to(device, non_blocking=non_blocking) for tensor in (self.inputs, self.targets))
        return replace(self, inputs=inputs, targets=targets)

    def pin_memory(self) -> Labelled:
        """The same in memory that a GPU can read while the CPU goes on."""
        return replace(self, inputs=self.inputs.pin_memory(), targets=self.targets.pin_memory())


def label_collate(samples: list[Any]) -> Labelled:
    """`(input tensor, class index)` samples as a batch."""
    inputs, targets = default_collate(samples)
    return Labelled(inputs, targets, targets)


PerRow = Callable[[Tensor, Tensor], Tensor]


def classification(loss: Loss | None = None, smoothing: float = 0.0) -> Seams:
    """Cross-entropy, smoothed in training only, or a loss of one's own (outputs, targets) → mean; and accuracy."""
    if loss is not None:
        train = val = partial(_spread, loss)
    else:
        train = partial(F.cross_entropy, reduction="none", label_smoothing=smoothing)
        val = partial(F.cross_entropy, reduction="none")
    return Seams(label_collate, partial(_losses, train), partial(_measure, val))


def _spread(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """A mean over rows, given to each of them."""
    return loss(outputs, targets).expand(len(targets))


def _losses(per_row: PerRow, model: MultiTask, batch: Labelled, tasks: Sequence[str]) -> Tensor:
    return _assembled([(rows, per_row(y, targets)) for rows, y, targets in _outputs(model, batch, tasks)])


def _measure(per_row: PerRow, model: MultiTask, batch: Labelled, tasks: Sequence[str]) -> Mapping[str, Tensor]:
    found = list(_outputs(model, batch, tasks))
    return {
        "loss": _assembled([(rows, per_row(outputs, targets)) for rows, outputs, targets in found]),
        OUTPUTS: _assembled([(rows, outputs) for rows, outputs, _ in found]),
        "accuracy": _assembled([(rows, (outputs.argmax(1) == targets).float()) for rows, outputs, targets in found]),
    }


def _outputs(model: MultiTask, batch: Labelled, tasks: Sequence[str]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Per task its rows, their outputs `[b, C]` in float32 at least, and their targets; one forward pass for all."""
    distinct = dict.fromkeys(tasks)
    made = model(batch.inputs, task=list(tasks) if len(distinct) > 1 else tasks[0])
    for name in distinct:
        rows = [row for row, owner in enumerate(tasks) if owner == name]
        outputs = made if len(distinct) == 1 else torch.stack([made[row] for row in rows])
        check_targets(outputs, batch.known[rows], name)
        targets = batch.targets if len(distinct) == 1 else batch.targets[rows]
        yield rows, outputs.to(torch.promote_types(outputs.dtype, torch.float32)), targets


def _assembled(parts: list[tuple[list[int], Tensor]]) -> Tensor:
    """`[B]` from rows and their values."""
    order = [row for rows, _ in parts for row in rows]
    together = torch.cat([values for _, values in parts])
    if order == sorted(order):
        return together
    return together[torch.tensor(order, device=together.device).argsort()]

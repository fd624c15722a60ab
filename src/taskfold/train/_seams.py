"""What training asks of data it knows nothing about: a batch, its losses, and what validation measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ..model import MultiTask

Collate = Callable[[list[Any]], Any]
"""Samples → batch: tensors, nested as one likes, or anything with `.to(device)`."""

LossPerSample = Callable[[MultiTask, Any, Sequence[str]], Tensor]
"""(model, batch, one task name per sample) → `[B]`, a loss for each sample, with gradients."""

Measure = Callable[[MultiTask, Any, Sequence[str]], Mapping[str, Tensor]]
"""(model, batch, one task name per sample) → `[B]` each: `loss`, perhaps `accuracy`, and whatever else is of interest.

Asked in evaluation mode, without gradients, with samples of one task at a time. `outputs`, `[B, C]`, may be what the
task says of C classes, and `targets`, `[B]`, which are right; these are no numbers of interest themselves: training
looks whether one class is said of all, and counts them for balanced accuracy, macro-F1 and the majority's share.
"""

Vary = Callable[[Any, Sequence[str]], Any]
"""(batch, one task name per sample) → batch."""

OUTPUTS, TARGETS = "outputs", "targets"

LossPerTask = Callable[[MultiTask, Any, Sequence[str]], Mapping[str, Tensor]]
"""(model, batch, task names) → by task `[n]`, n ≤ B: the losses of those samples that have a target for it.

For samples that serve several tasks at once. Asked for some or all of these tasks. A task that no sample of the batch
has a target for is left out, and best not run at all: then nothing of it moves, its running statistics neither.
"""

MeasurePerTask = Callable[[MultiTask, Any, Sequence[str]], Mapping[str, Mapping[str, Tensor]]]
"""(model, batch, task names) → by task what `Measure` returns, `[n]` each, of those samples that have a target for it.

Asked in evaluation mode, without gradients.
"""


@dataclass(frozen=True)
class TaskSet:
    """The data of one task, or of several; map-style, samples of any type.

    `set_epoch(number)` is called on `train` if there, with the number of the pass over the data, from 0.

    Attributes:
        train: trained on.
        val: selects the best epoch, and nothing else.
        plain: the training samples without augmentation, to re-estimate BatchNorm statistics on; None: `train`.
    """

    train: Dataset[Any]
    val: Dataset[Any]
    plain: Dataset[Any] | None = None

    @property
    def unaugmented(self) -> Dataset[Any]:
        """The training samples as they are."""
        return self.train if self.plain is None else self.plain


@dataclass(frozen=True)
class Seams:
    """The three of them, for samples of one task each.

    Attributes:
        collate: samples → batch.
        loss: of training.
        measure: of validation.
        vary: what becomes of a batch before a step of the training, and nowhere else; None: nothing.
    """

    collate: Collate
    loss: LossPerSample
    measure: Measure
    vary: Vary | None = None


@dataclass(frozen=True)
class SeamsPerTask:
    """The three of them, for samples that serve several tasks.

    Attributes:
        collate: samples → batch.
        loss: of training.
        measure: of validation; None: the training loss.
    """

    collate: Collate
    loss: LossPerTask
    measure: MeasurePerTask | None


def loss_alone(loss: LossPerSample) -> Measure:
    """A measure that knows the training loss only."""

    def measure(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Mapping[str, Tensor]:
        return {"loss": loss(model, batch, tasks)}

    return measure

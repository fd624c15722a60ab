"""Types of the functions that adapt training to data of any kind: batches, losses, measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ..model import MultiTask

Collate = Callable[[list[Any]], Any]
"""Samples → batch: tensors, nested in any way, or anything with `.to(device)`."""

LossPerSample = Callable[[MultiTask, Any, Sequence[str]], Tensor]
"""(model, batch, one task name per sample) → `[B]`, a loss for each sample, with gradients."""

Measure = Callable[[MultiTask, Any, Sequence[str]], Mapping[str, Tensor]]
"""(model, batch, one task name per sample) → `[B]` each: `loss`, perhaps `accuracy`, and other measures.

Called in evaluation mode, without gradients, with samples of one task at a time. `outputs`, `[B, C]`, may be the
scores of C classes, and `targets`, `[B]`, the right classes. Training does not report these two: it uses them to
detect constant predictions, and for balanced accuracy, macro-F1 and the majority's share.
"""

Vary = Callable[[Any, Sequence[str]], Any]
"""(batch, one task name per sample) → batch."""

OUTPUTS, TARGETS = "outputs", "targets"
ALL = ("all_outputs", "all_targets")
"""What `Seams.scores` take, of a batch."""

Scores = Callable[[Sequence[tuple[Tensor, Tensor]]], Mapping[str, float]]
"""Outputs and targets of all batches, on the CPU → scores that no mean over samples gives (F1, R²)."""

LossPerTask = Callable[[MultiTask, Any, Sequence[str]], Mapping[str, Tensor]]
"""(model, batch, task names) → by task `[n]`, n ≤ B: the losses of those samples that have a target for it.

For samples that serve several tasks at once. Called for some or all of these tasks. A task without a target in the
batch is left out, and should not run: then its running statistics do not move either.
"""

MeasurePerTask = Callable[[MultiTask, Any, Sequence[str]], Mapping[str, Mapping[str, Tensor]]]
"""(model, batch, task names) → by task what `Measure` returns, `[n]` each, for the samples with a target for it.

Called in evaluation mode, without gradients.
"""


@dataclass(frozen=True)
class TaskSet:
    """The data of one task, or of several: map-style data sets with samples of any type.

    If `train` has `set_epoch`, the trainer calls it with the number of the pass over the data, from 0.

    Attributes:
        train: the training samples.
        val: the validation samples, used only to select the best epoch.
        plain: the training samples without augmentation, to re-estimate BatchNorm statistics on; None: `train`.
    """

    train: Dataset[Any]
    val: Dataset[Any]
    plain: Dataset[Any] | None = None

    @property
    def unaugmented(self) -> Dataset[Any]:
        """`plain`, else `train`."""
        return self.train if self.plain is None else self.plain


@dataclass(frozen=True)
class Seams:
    """The functions for samples of one task each.

    Attributes:
        collate: samples → batch.
        loss: the training loss.
        measure: the measures in validation.
        vary: changes a batch before a training step only; None: no change.
        scores: by task, scores of all validation samples together; `measure` returns `ALL` for them.
        names: by task, the names of these scores.
    """

    collate: Collate
    loss: LossPerSample
    measure: Measure
    vary: Vary | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class SeamsPerTask:
    """The functions for samples that serve several tasks.

    Attributes:
        collate: samples → batch.
        loss: the training loss.
        measure: the measures in validation; None: the training loss.
    """

    collate: Collate
    loss: LossPerTask
    measure: MeasurePerTask | None


def loss_alone(loss: LossPerSample) -> Measure:
    """A measure with the training loss alone."""

    def measure(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Mapping[str, Tensor]:
        return {"loss": loss(model, batch, tasks)}

    return measure

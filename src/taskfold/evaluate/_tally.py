"""Running sums of a classification, exact over batches and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._scores import Verdict, balanced, macro_f1, verdict, wilson

TOP = 5


@dataclass(frozen=True)
class Metrics:
    """The measures of a classification on one data set.

    Attributes:
        accuracy: share of right answers, 0 to 1.
        interval: the 95 % interval of accuracy (Wilson).
        loss: mean loss per image (cross-entropy in nats, unless another loss was given).
        count: number of images.
        recall: share of right answers among the images of each class; None for classes without images.
        balanced_accuracy: mean recall of the classes with images.
        macro_f1: mean F1 of the classes with images or predictions.
        majority: accuracy of always answering the largest class, whose index is `largest`.
        verdict: whether the task is `better` than that, `no better`, or `undecided` on so few images.
        top5: share of images whose class is among the five likeliest; None for five classes or fewer.
        confusion: `confusion[true][predicted]` images; None unless wanted.
    """

    accuracy: float
    interval: tuple[float, float]
    loss: float
    count: int
    recall: list[float | None]
    balanced_accuracy: float
    macro_f1: float
    majority: float
    largest: int
    verdict: Verdict
    top5: float | None = None
    confusion: list[list[int]] | None = None

    @classmethod
    def of(
        cls, confusion: Sequence[Sequence[int]], loss: float, top5: float | None = None, *, keep: bool = True
    ) -> Metrics:
        """The metrics from a confusion matrix.

        Args:
            confusion: `confusion[true][predicted]` images, at least one.
            loss, top5: as in `Metrics`.
            keep: include the confusion matrix.
        """
        right, present = [row[c] for c, row in enumerate(confusion)], [sum(row) for row in confusion]
        count, most = sum(present), max(present)
        recall = [r / n if n else None for r, n in zip(right, present, strict=True)]
        return cls(
            accuracy=sum(right) / count,
            interval=wilson(sum(right), count),
            loss=loss,
            count=count,
            recall=recall,
            balanced_accuracy=balanced(recall),
            macro_f1=macro_f1(confusion),
            majority=most / count,
            largest=present.index(most),
            verdict=verdict(confusion),
            top5=top5,
            confusion=[list(row) for row in confusion] if keep else None,
        )

    @classmethod
    def pooled(cls, parts: Sequence[Metrics]) -> Metrics:
        """The metrics of several sets of images together; each has its confusion matrix.

        Example:
            >>> Metrics.pooled([Metrics.of([[3, 1], [0, 2]], 0.5), Metrics.of([[1, 0], [1, 0]], 0.8)]).confusion
            [[4, 1], [1, 2]]
        """
        matrices = [part.confusion for part in parts if part.confusion is not None]
        if len(matrices) < len(parts):
            raise ValueError("parts must have confusion matrices; evaluate them with confusion=True")
        cells = [[sum(cell) for cell in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]
        count = sum(part.count for part in parts)
        near = [part.top5 for part in parts]
        top5 = None if None in near else sum((part.top5 or 0.0) * part.count for part in parts) / count
        return cls.of(cells, sum(part.loss * part.count for part in parts) / count, top5)

    @property
    def scores(self) -> dict[str, float]:
        """The numbers that trainings report, by name."""
        names = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "majority")
        return {name: getattr(self, name) for name in names}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs `[B, C]`, targets `[B]`) → mean over the batch, a scalar."""
Total = Callable[[Tensor], Tensor]


class Tally:
    """Sums over batches. They stay on the outputs' device until `result`."""

    def __init__(self, loss: Loss = F.cross_entropy) -> None:
        self.loss = loss
        self.confusion: Tensor | None = None
        self.near: Tensor | None = None
        self.losses: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        outputs = outputs.float()
        size, classes = outputs.shape
        cells = torch.bincount(targets * classes + outputs.argmax(1), minlength=classes * classes)
        near = (outputs.topk(min(TOP, classes), 1).indices == targets[:, None]).any(1).sum()
        self.confusion = cells if self.confusion is None else self.confusion + cells
        self.near = near if self.near is None else self.near + near
        self.losses.append(self.loss(outputs, targets) * size)

    def result(self, *, total: Total | None = None, confusion: bool = False) -> Metrics:
        """The metrics of all batches so far, at least one.

        Args:
            total: sums a tensor over processes, if each has counted its share.
            confusion: include the confusion matrix.
        """
        if self.confusion is None or self.near is None:
            raise ValueError("nothing was counted; a data set must hold at least one sample")
        classes = round(len(self.confusion) ** 0.5)
        # The CPU sums the losses, since not every accelerator has float64.
        loss_sum = torch.stack(self.losses).cpu().double().sum()
        counted, near = self.confusion, self.near
        if total is not None:
            counted, near, loss_sum = total(counted), total(near), total(loss_sum.to(near.device))
        matrix = counted.reshape(classes, classes).cpu()
        top5 = int(near) / int(matrix.sum()) if classes > TOP else None
        return Metrics.of(matrix.tolist(), float(loss_sum) / int(matrix.sum()), top5, keep=confusion)

"""Running sums of a classification, exact over batches and processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._scores import Verdict, balanced, macro_f1, verdict, wilson

TOP = 5


@dataclass(frozen=True)
class Metrics:
    """What was measured on one data set.

    Attributes:
        accuracy: share of right answers, 0 to 1.
        interval: 95 % interval of accuracy (Wilson), which says what so many images can say.
        loss: mean loss per image (cross-entropy in nats, unless another was asked for).
        count: number of images.
        recall: share of right answers among the images of each class; None where a class has no image.
        balanced_accuracy: mean recall of the classes that have images.
        macro_f1: mean F1 of the classes that have images or answers.
        majority: accuracy of always answering the largest class, whose index is `largest`.
        verdict: whether the task is `better` than that, `no better`, or `undecided` on so few images.
        top5: share of images whose class is among the five likeliest; None for five classes or fewer.
        confusion: `confusion[true][predicted]` images; None unless asked for.
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

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return asdict(self)


Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs `[B, C]`, targets `[B]`) → mean over the batch, a scalar."""
Total = Callable[[Tensor], Tensor]


class Tally:
    """Sums over batches. They stay on the outputs' device until asked for."""

    def __init__(self, loss: Loss = F.cross_entropy) -> None:
        self.loss = loss
        self.confusion: Tensor | None = None
        self.near: Tensor | None = None
        self.losses: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Count one batch."""
        outputs = outputs.float()
        size, classes = outputs.shape
        cells = torch.bincount(targets * classes + outputs.argmax(1), minlength=classes * classes)
        near = (outputs.topk(min(TOP, classes), 1).indices == targets[:, None]).any(1).sum()
        self.confusion = cells if self.confusion is None else self.confusion + cells
        self.near = near if self.near is None else self.near + near
        self.losses.append(self.loss(outputs, targets) * size)

    def result(self, *, total: Total | None = None, confusion: bool = False) -> Metrics:
        """The metrics of everything counted so far, which must be something.

        Args:
            total: sums a tensor over processes, where each has counted its share.
            confusion: also the confusion matrix.
        """
        if self.confusion is None or self.near is None:
            raise ValueError("nothing was counted; a data set must hold at least one sample")
        classes = round(len(self.confusion) ** 0.5)
        # Not every accelerator has float64, so the losses are summed on the CPU.
        loss_sum = torch.stack(self.losses).cpu().double().sum()
        counted, near = self.confusion, self.near
        if total is not None:
            counted, near, loss_sum = total(counted), total(near), total(loss_sum.to(near.device))
        matrix = counted.reshape(classes, classes).cpu()
        right, present = matrix.diagonal().tolist(), matrix.sum(1).tolist()
        count, cells, most = sum(present), matrix.tolist(), max(present)
        recall = [r / n if n else None for r, n in zip(right, present, strict=True)]
        return Metrics(
            accuracy=sum(right) / count,
            interval=wilson(sum(right), count),
            loss=float(loss_sum) / count,
            count=count,
            recall=recall,
            balanced_accuracy=balanced(recall),
            macro_f1=macro_f1(cells),
            majority=most / count,
            largest=present.index(most),
            verdict=verdict(cells),
            top5=int(near) / count if classes > TOP else None,
            confusion=cells if confusion else None,
        )

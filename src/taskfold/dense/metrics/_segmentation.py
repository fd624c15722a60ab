"""Scores of semantic segmentation."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix

from .._losses import IGNORE


class SegmentationScores(Metric):
    """Mean intersection over union and pixel accuracy, from one confusion matrix over the whole data set.

    - `miou`: mean over classes of TP / (TP + FP + FN). A class in neither targets nor predictions is left out; one that
      is predicted but never true counts, with 0.
    - `pixel_accuracy`: the share of right pixels.

    Pixels of class 255 are ignored.

    Args:
        classes: the number of classes.

    Example:
        >>> scores = SegmentationScores(3)
        >>> scores.update(torch.tensor([[[[0, 0, 1]]]]), torch.tensor([[[[0, 1, 255]]]]))
        >>> scores.compute()
        {'miou': 0.25, 'pixel_accuracy': 0.5}
    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch: both `[B, 1, H, W]`, classes."""
        self.confusion += multiclass_confusion_matrix(
            predictions.long(), targets.long(), self.classes, ignore_index=IGNORE, validate_args=False
        )

    def compute(self) -> dict[str, float]:
        """The scores, 0 to 1.

        Raises:
            ValueError: no pixel had a class.
        """
        counts = self.confusion.cpu().double()
        if not counts.any():
            raise ValueError("segmentation: every pixel counted so far is ignored, so there is nothing to score")
        right = counts.diagonal()
        union = counts.sum(0) + counts.sum(1) - right
        return {"miou": float((right / union)[union > 0].mean()), "pixel_accuracy": float(right.sum() / counts.sum())}

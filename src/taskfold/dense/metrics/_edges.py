"""Scores of edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

EDGE = 0.5
LEVELS = 100


class EdgeScores(Metric):
    """F-measure at the one threshold that is best for the whole data set (odsF).

    For each of the thresholds 0.01, 0.02, …, 0.99, over all images together:

    - precision: share of the predicted edge pixels (p ≥ threshold) with a true edge pixel (target ≥ 0.5) within reach
    - recall: share of the true edge pixels with a predicted one within reach
    - F = 2PR / (P + R), 0 where both are 0

    Within reach means at a distance of at most `tolerance` × the image's diagonal. **This is not the matching of the
    BSDS benchmark**, which thins predictions first and pairs pixels one to one: here several predicted pixels may share
    a true one, so thick edges are not penalised as there, and values are higher. Compare values of this metric only
    with each other. Invalid pixels (target −1) are neither predicted nor true.

    Args:
        tolerance: the share of the diagonal.

    Example:
        >>> scores = EdgeScores(tolerance=0)
        >>> scores.update(torch.tensor([[[[0.9, 0.8, 0.1]]]]), torch.tensor([[[[1.0, 0.0, 0.0]]]]))
        >>> {name: round(value, 2) for name, value in scores.compute().items()}
        {'odsF': 1.0, 'precision': 1.0, 'recall': 1.0, 'threshold': 0.81}
    """

    full_state_update = False
    predicted: Tensor
    right: Tensor
    found: Tensor
    true: Tensor

    def __init__(self, tolerance: float) -> None:
        super().__init__()
        self.tolerance = tolerance
        # counts by level: pixels whose p passes exactly so many thresholds
        for name in ("predicted", "right", "found"):
            self.add_state(name, torch.zeros(LEVELS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("true", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch: both `[B, 1, H, W]`, predictions 0 to 1."""
        valid, truth = targets >= 0, targets >= EDGE
        height, width = targets.shape[-2:]
        reach = self.tolerance * (height**2 + width**2) ** 0.5
        p = predictions.float().masked_fill(~valid, -1)
        self.predicted += _levels(p[valid])
        self.right += _levels(p[valid & (spread(truth.float(), reach) > 0)])
        self.found += _levels(spread(p, reach)[truth])
        self.true += truth.sum()

    def compute(self) -> dict[str, float]:
        """The best F with its precision, recall and threshold.

        Raises:
            ValueError: no pixel was an edge.
        """
        if not self.true:
            raise ValueError("edges: no pixel counted so far is a true edge, so there is nothing to score")
        # pixels that pass at least k thresholds, k = 1, …
        predicted, right, found = (
            counts.cpu().double().flip(0).cumsum(0).flip(0)[1:] for counts in (self.predicted, self.right, self.found)
        )
        precision, recall = right / predicted.clamp(min=1), found / self.true.cpu()
        f = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
        best = int(f.argmax())
        return {
            "odsF": float(f[best]),
            "precision": float(precision[best]),
            "recall": float(recall[best]),
            "threshold": (best + 1) / LEVELS,
        }


def spread(values: Tensor, reach: float) -> Tensor:
    """The greatest value within `reach` pixels of each, `[B, 1, H, W]`.

    Example:
        >>> spread(torch.tensor([[[[0.0, 0.0, 1.0]]]]), 1.0)
        tensor([[[[0., 1., 1.]]]])
    """
    height, width = values.shape[-2:]
    radius = int(reach)
    padded = F.pad(values, (radius,) * 4, value=-1)
    greatest = values
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down**2 + right**2 <= reach**2:
                y, x = radius + down, radius + right
                greatest = torch.maximum(greatest, padded[..., y : y + height, x : x + width])
    return greatest


def _levels(p: Tensor) -> Tensor:
    """How many values pass exactly 0, 1, …, 99 thresholds."""
    thresholds = torch.arange(1, LEVELS, device=p.device) / LEVELS
    return torch.bincount(torch.bucketize(p, thresholds, right=True), minlength=LEVELS)

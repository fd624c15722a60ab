"""Errors of surface normals."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

STEP = 0.01
WITHIN = (11.25, 22.5, 30.0)


class NormalScores(Metric):
    """Angles between predicted and true normals over all valid pixels (target not the zero vector) of the data set.

    - `mean`: degrees.
    - `median`: degrees, to within 0.01 (from a histogram, so that memory does not grow with the data).
    - `within_11.25`, `within_22.5`, `within_30`: share of the pixels with a smaller angle, 0 to 1.

    A prediction may have any length; a zero vector has no direction and counts as 90° off.

    Example:
        >>> scores = NormalScores()
        >>> predicted, true = torch.tensor([0.0, 2.0, 2.0]), torch.tensor([0.0, 0.0, 1.0])
        >>> scores.update(predicted.view(1, 3, 1, 1), true.view(1, 3, 1, 1))
        >>> {name: round(value, 2) for name, value in scores.compute().items()}
        {'mean': 45.0, 'median': 45.0, 'within_11.25': 0.0, 'within_22.5': 0.0, 'within_30': 0.0}
    """

    full_state_update = False
    total: Tensor
    within: Tensor
    histogram: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("within", torch.zeros(len(WITHIN), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(round(180 / STEP) + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch: both `[B, 3, H, W]`."""
        valid = (targets != 0).any(1)
        angle = angles(predictions.float().movedim(1, -1)[valid], targets.float().movedim(1, -1)[valid])
        self.total += angle.sum()
        self.within += torch.stack([(angle < limit).sum() for limit in WITHIN])
        self.histogram += torch.bincount((angle / STEP).round().long(), minlength=len(self.histogram))

    def compute(self) -> dict[str, float]:
        """The scores.

        Raises:
            ValueError: no pixel was valid.
        """
        counts = self.histogram.cpu()
        pixels = int(counts.sum())
        if not pixels:
            raise ValueError("normals: no pixel counted so far is valid, so there is nothing to score")
        median = int((counts.cumsum(0) * 2 >= pixels).nonzero()[0]) * STEP
        shares = {f"within_{limit:g}": int(n) / pixels for limit, n in zip(WITHIN, self.within, strict=True)}
        return {"mean": float(self.total) / pixels, "median": median, **shares}


def angles(one: Tensor, other: Tensor) -> Tensor:
    """Degrees between vectors `[N, 3]` of any length, `[N]`; 90 for a zero vector.

    From sine and cosine both: the arc cosine alone loses angles below 0.03° to rounding.
    """
    sine, cosine = torch.linalg.cross(one, other).norm(dim=1), (one * other).sum(1)
    nowhere = (one == 0).all(1) | (other == 0).all(1)
    return torch.atan2(sine, cosine).rad2deg().masked_fill(nowhere, 90)

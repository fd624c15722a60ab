"""Errors of depth."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class DepthScores(Metric):
    """Errors over all valid pixels (target > 0) of the whole data set; all pixels have the same weight.

    - `rmse`: √ mean (d − t)², metres. Some published code counts invalid pixels too; this one does not.
    - `absolute`: mean |d − t|, metres.
    - `relative`: mean |d − t| / t.

    Example:
        >>> scores = DepthScores()
        >>> scores.update(torch.tensor([[[[3.0, 2.0, 9.0]]]]), torch.tensor([[[[2.0, 2.0, 0.0]]]]))
        >>> scores.compute()["relative"]
        0.25
    """

    full_state_update = False
    sums: Tensor
    pixels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3), dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch: both `[B, 1, H, W]`, metres."""
        valid = targets > 0
        target = targets[valid]
        error = (predictions[valid].float() - target).abs()
        self.sums += torch.stack([error.square().sum(), error.sum(), (error / target).sum()])
        self.pixels += valid.sum()

    def compute(self) -> dict[str, float]:
        """The errors.

        Raises:
            ValueError: no pixel was valid.
        """
        if not self.pixels:
            raise ValueError("depth: no pixel counted so far is valid (> 0 metres), so there is nothing to score")
        square, absolute, relative = (self.sums.cpu().double() / self.pixels.cpu()).tolist()
        return {"rmse": square**0.5, "absolute": absolute, "relative": relative}

"""Matches detections with objects in one image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.ops import box_iou

SOLID = 0.5
"""Values of a detection's mask, 0 to 1, that count as the object."""


def f_score(
    found: Mapping[str, Tensor], target: Mapping[str, Tensor], score: float = 0.5, overlap: float = 0.5
) -> float:
    """F = 2M / (D + N) of one image: D detections, N objects, M of them matched; 1 if there is neither.

    Detections below `score` are left out. In order of their score, each takes the free object of its class that it
    overlaps most, if their IoU is at least `overlap`: of masks, or of boxes if the detector has no masks.

    Args:
        found: a torchvision detector's result: `boxes`, `labels`, `scores`, perhaps `masks` `[D, 1, H, W]`.
        target: `boxes`, `labels`, and `masks` `[N, H, W]` if `found` has them.
        score: the least score of a detection, 0 to 1.
        overlap: the least IoU of a match, 0 to 1.

    Example:
        >>> square, cup = torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([1])
        >>> f_score({"boxes": square, "labels": cup, "scores": torch.tensor([0.9])}, {"boxes": square, "labels": cup})
        1.0
    """
    sure = found["scores"] >= score
    order = found["scores"][sure].argsort(descending=True, stable=True)
    labels = found["labels"][sure][order]
    if not len(labels) + len(target["labels"]):
        return 1.0
    if "masks" in found:
        shared = _mask_iou(found["masks"][sure][order].flatten(1) >= SOLID, target["masks"].flatten(1) > 0)
    else:
        shared = box_iou(found["boxes"][sure][order], target["boxes"].float())
    shared = torch.where(labels[:, None] == target["labels"][None], shared, -1.0).cpu()
    matched = 0
    for row in shared if len(target["labels"]) else ():
        best = int(row.argmax())
        if row[best] >= max(overlap, 1e-9):  # detections and objects that do not touch never match
            matched += 1
            shared[:, best] = -1.0
    return 2 * matched / (len(labels) + len(target["labels"]))


def _mask_iou(found: Tensor, true: Tensor) -> Tensor:
    """The IoU `[D, N]` of boolean `[D, pixels]` and `[N, pixels]`."""
    a, b = found.float(), true.float()
    common = a @ b.T
    return common / (a.sum(1)[:, None] + b.sum(1)[None] - common).clamp(min=1)

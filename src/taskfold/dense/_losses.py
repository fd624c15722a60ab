"""Losses of dense outputs, one per sample: means over the sample's valid pixels, 0 without any."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255
"""The class of ignored pixels."""
SHORT = 1e-3
"""Outputs shorter than this are not scaled to unit vectors, which bounds the gradient of the scaling."""


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy in nats, `[B]`.

    Args:
        output: `[B, C, H, W]`, logits.
        target: `[B, 1, H, W]`, classes, 255 for ignored pixels.

    Example:
        >>> cross_entropy(torch.zeros(1, 2, 1, 3), torch.tensor([[[[0, 1, 255]]]]))
        tensor([0.6931])
    """
    classes = target[:, 0].long()
    errors = F.cross_entropy(output.float(), classes, ignore_index=IGNORE, reduction="none")
    return masked_mean(errors[:, None], target != IGNORE)


def absolute(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of |output − target|, `[B]`, in the target's units.

    Args:
        output, target: `[B, C, H, W]`.
        valid: `[B, 1, H, W]`, the pixels that count.
    """
    return masked_mean((output.float() - target).abs(), valid)


def absolute_unit(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of |output / ‖output‖ − target| over valid pixels and the three components, `[B]`.

    Args:
        output: `[B, 3, H, W]`, vectors of any length.
        target: `[B, 3, H, W]`, unit vectors.
        valid: `[B, 1, H, W]`, the pixels that count.
    """
    return masked_mean((unit(output) - target).abs(), valid)


def cosine(output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of 1 − cos of the angle between output and target, `[B]`, 0 to 2; arguments as in `absolute_unit`."""
    return masked_mean(1 - (unit(output) * target).sum(1, keepdim=True), valid)


def weighted_bce(output: Tensor, target: Tensor, valid: Tensor, positive_weight: float) -> Tensor:
    """Mean of −w y log p − (1 − w)(1 − y) log(1 − p), `[B]`.

    Args:
        output: `[B, 1, H, W]`, logits of p.
        target: `[B, 1, H, W]`, y in [0, 1].
        valid: `[B, 1, H, W]`, the pixels that count.
        positive_weight: w in (0, 1).
    """
    logits = output.float()
    errors = -positive_weight * target * F.logsigmoid(logits)
    errors = errors - (1 - positive_weight) * (1 - target) * F.logsigmoid(-logits)
    return masked_mean(errors, valid)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of `[B, C, H, W]` over the channels and the pixels of `valid` `[B, 1, H, W]`: `[B]`, 0 without any.

    Values at other pixels are never multiplied: they may be anything, and get no gradient.

    Example:
        >>> valid = torch.tensor([[[[True, False]]], [[[False, False]]]])
        >>> masked_mean(torch.tensor([[[[1.0, torch.nan]]], [[[5.0, 5.0]]]]), valid)
        tensor([1., 0.])
    """
    kept = torch.where(valid, values, torch.zeros((), dtype=values.dtype, device=values.device))
    count = valid.flatten(1).sum(1).clamp(min=1) * values.shape[1]
    return kept.flatten(1).sum(1) / count


def unit(vectors: Tensor) -> Tensor:
    """`[B, 3, H, W]` scaled to length 1; vectors shorter than 0.001 stay short."""
    vectors = vectors.float()
    # F.normalize over the channels takes ten times as long on a CPU.
    return vectors * vectors.square().sum(1, keepdim=True).clamp(min=SHORT**2).rsqrt()

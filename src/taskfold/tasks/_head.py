from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ._leaves import kept_in


@torch.inference_mode(False)
def build_head(head: int | nn.Module | None, features: Callable[[], int], like: Tensor) -> nn.Module | None:
    """A task's head: a linear layer for a number of outputs, the given module, or None for none.

    Args:
        head: the number of outputs (≥ 1), any module, or None.
        features: returns the width of the backbone's features; called only for a number of outputs.
        like: a backbone tensor; the head takes its device and (at least float32) dtype.

    Raises:
        ValueError: fewer than one output.
        TypeError: `head` is neither a number nor a module.
    """
    if isinstance(head, nn.Linear):
        features()  # it may raise, since the backbone states no width
    if head is None or isinstance(head, nn.Module):
        return head
    if not isinstance(head, int) or isinstance(head, bool):
        raise TypeError(f"head must be a number of outputs, an nn.Module or None, found {type(head).__name__} {head!r}")
    if head < 1:
        raise ValueError(f"head must be ≥ 1 outputs, found {head}")
    return nn.Linear(features(), head, device=like.device, dtype=kept_in(like.dtype))

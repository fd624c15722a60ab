"""Hard choices with straight-through gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def hard(scores: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
    """`choose(scores)` with the gradient of the scores: a straight-through estimator.

    Example:
        >>> scores = torch.tensor([0.2, -1.0], requires_grad=True)
        >>> chosen = hard(scores, lambda s: (s > 0).to(s.dtype))
        >>> (chosen * torch.tensor([3.0, 5.0])).sum().backward()
        >>> chosen.tolist(), scores.grad.tolist()
        ([1.0, 0.0], [3.0, 5.0])
    """
    return _Hard.apply(scores, choose)  # type: ignore[no-any-return]


class _Hard(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[override]
        return choose(scores)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None

"""Products that are added into what nobody else has seen."""

from __future__ import annotations

import torch


def may_write() -> bool:
    """Whether a product may be added into a layer's output, which nobody else has seen."""
    return not (torch.is_grad_enabled() or traced())


def traced() -> bool:
    """Whether somebody takes the step apart: a compiler, or a transform of torch.func."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()

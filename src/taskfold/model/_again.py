"""Layers that are computed again in the backward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..layers import Selection, current, selecting


def checkpoint_context() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint(…, use_reentrant=False, context_fn=checkpoint_context)`.

    Keeps the task of the forward pass for its recomputation in the backward pass. Running statistics move once, in the
    forward pass.
    """
    return nullcontext(), _Again(current())


class _Again(selecting):
    """A pass that is computed again: what it writes to keeps its numbers."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.kept: list[list[tuple[Tensor, Tensor]]] = []

    def __enter__(self) -> None:
        written = self.selection.answers.written() if self.selection.training else []
        self.kept.append([(tensor, tensor.detach().clone()) for tensor in written])
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        with torch.no_grad():
            for tensor, before in self.kept.pop():
                tensor.data.copy_(before)  # as data: layers whose backward pass is to come have seen the tensor itself

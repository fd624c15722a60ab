"""Layers that are computed again in the backward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ..layers import Selection, current, selecting


def checkpoint_context() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint(…, use_reentrant=False, context_fn=checkpoint_context)`.

    Keeps the task of the forward pass for its recomputation in the backward pass. Running statistics move once, in the
    forward pass.
    """
    return nullcontext(), _Again(current())


class Written:
    """What a pass writes to if it trains (running statistics), with the numbers that it had before."""

    def __init__(self, selection: Selection) -> None:
        written = selection.answers.written() if selection.training else []
        self.kept = [(tensor, tensor.detach().clone()) for tensor in written]

    @torch.no_grad()
    def put_back(self) -> None:
        """The numbers of before; as data, since layers whose backward pass is to come have seen the tensors."""
        for tensor, before in self.kept:
            tensor.data.copy_(before)


class _Again(selecting):
    """A pass that is computed again: what it writes to keeps its numbers."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.written: list[Written] = []

    def __enter__(self) -> None:
        self.written.append(Written(self.selection))
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.written.pop().put_back()

"""Layers that are computed again in the backward pass train to the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from taskfold import MultiTask, Poly, checkpoint_context
from taskfold.train import train_together

from .joint import ONE_STEP, QUICK, SIZES, everything, sets


class Net(nn.Module):
    """A block that forgets its activations, or one that keeps them."""

    def __init__(self, forgets: bool) -> None:
        super().__init__()
        self.block, self.forgets = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 6)), forgets

    def forward(self, x: Tensor) -> Any:
        if not (self.forgets and self.training):
            return self._block(x)
        return checkpoint(self._block, x, use_reentrant=False, context_fn=checkpoint_context)

    def _block(self, x: Tensor) -> Tensor:
        return self.block(x.flatten(1))


BALANCED = ONE_STEP.model_copy(update={"balance": "upgrad"})


@pytest.mark.parametrize("settings", [QUICK, BALANCED], ids=["plain", "upgrad"])
def test_it_changes_nothing(settings: Any) -> None:
    found = []
    for forgets in (False, True):
        torch.manual_seed(0)
        model = MultiTask(Net(forgets), Poly(rank=2, skills=2, init="normal"), num_features=6)
        for number, name in enumerate(SIZES):
            model.add_task(name, 2 + number)
        start = everything(model)
        train_together(model, sets(), settings)
        assert everything(model) != start
        found.append(everything(model))
    assert found[0] == found[1]

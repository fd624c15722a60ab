"""A training with a budget keeps an epoch within it, even if validation prefers one above it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold.train import BudgetWarning, Settings, train_task
from taskfold.train._state import better


def trained(epochs: int) -> tuple[float, list[float]]:
    """Share of switches that are on in what is kept, and what each epoch was above the budget."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = tfold.MultiTask(net, tfold.BA2(budget=0.5, norm=False), num_features=16)
    task = model.add_task("flowers", head=2)
    labels = torch.arange(64) % 2
    data = TensorDataset(torch.randn(64, 3, 8, 8) + (2 * labels - 1)[:, None, None, None], labels)
    # Validation likes the first epoch best: its answers are those of the untrained model.
    with torch.no_grad():
        val = TensorDataset(data.tensors[0], model.eval()(data.tensors[0], task="flowers").argmax(-1))
    settings = Settings(epochs=epochs, optimizers={"mask": {"lr": 1e-4}})
    result = train_task(model, "flowers", data, val, settings)
    scores = next(leaf for name, leaf in task.named_parameters() if name.endswith("mask"))
    return float((scores > 0).float().mean()), [point["over_budget"] for point in result.curve]


def test_an_epoch_above_the_budget_is_kept_only_where_there_is_no_other() -> None:
    share, above = trained(20)
    assert above[0] == 0.5
    assert above[-1] == 0
    assert share <= 0.5


def test_a_budget_that_is_never_met_is_said() -> None:
    with pytest.warns(BudgetWarning, match=r"no epoch was within the budget.*above it by 0\.5"):
        share, _ = trained(1)
    assert share == 1


def test_the_budget_comes_before_the_score() -> None:
    above = {"val_accuracy": 0.9, "val_loss": 0.1, "over_budget": 0.1}
    within = {"val_accuracy": 0.2, "val_loss": 2.0, "over_budget": 0.0}
    assert better(within, above, "accuracy")
    assert not better(above, within, "loss")

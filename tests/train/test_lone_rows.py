"""A task with a single row in a batch that can't train on it is named before the first step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold import MultiTask
from taskfold.train import JointSettings, TaskSet, train_together

ROWS, MAPS = torch.randn(60, 8), torch.randn(60, 3, 6, 6)


def deep() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 2))


def trained(
    network: nn.Module, x: Tensor, batch_size: int, method: tfold.Method, head: Callable[[], nn.Module] | None = None
) -> None:
    model = MultiTask(network, method, num_features=16)
    sets: dict[str, TaskSet] = {}
    for name, rows in {"large": 60, "small": 3}.items():
        model.add_task(name, head=head() if head else 2)
        data = TensorDataset(x[:rows], torch.arange(rows) % 2)
        sets[name] = TaskSet(data, data)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        train_together(model, sets, JointSettings(epochs=2, batch_size=batch_size))
    except ValueError:
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        raise


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16))


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16))


@pytest.mark.parametrize(
    ("network", "method", "head", "layer"),
    [
        (linear, tfold.HeadNorm(statistics="own"), None, "layer '1': BatchNorm"),
        (linear, tfold.HardSharing(), None, "layer '1': BatchNorm"),
        (plain, tfold.HeadNorm(), deep, "Expected more than 1 value per channel"),
    ],
    ids=["own", "common", "head"],
)
def test_it_is_named(
    network: Callable[[], nn.Module], method: tfold.Method, head: Callable[[], nn.Module] | None, layer: str
) -> None:
    with pytest.raises(ValueError, match=rf"task 'small' has a single row in a batch \(.*{layer}.*larger batch_size"):
        trained(network(), ROWS, 16, method, head)


def test_it_trains_where_it_can() -> None:
    trained(linear(), ROWS, 63, tfold.HeadNorm(statistics="own"))  # three rows in each batch
    maps = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    trained(maps, MAPS, 16, tfold.HeadNorm(statistics="own"))  # sixteen values per channel
    trained(linear(), ROWS, 16, tfold.LoRA(rank=2, layers="linear"))  # the backbone's statistics

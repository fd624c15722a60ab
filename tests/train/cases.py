"""A small network and small data that every test of training uses."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from taskfold import FTN, Method, MultiTask
from taskfold.train import Settings


def make(*names: str, method: Method | None = None, seed: int = 0) -> MultiTask:
    """Convolutions, BatchNorm with timm's slow momentum, dropout; a task for each name, heads started by the seed."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=0.01), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16, momentum=0.01), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)),
    )
    model = MultiTask(net, method or FTN(rank=2), num_features=16)
    torch.manual_seed(seed)
    for name in names:
        model.add_task(name, 3)
    return model


def data(size: int, seed: int = 0) -> TensorDataset:
    """Three classes that differ in brightness."""
    dice = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (size,), generator=dice)
    return TensorDataset(torch.randn(size, 3, 8, 8, generator=dice) + targets[:, None, None, None], targets)


class Noisy(Dataset[Any]):
    """Augments by the epoch and by every global generator."""

    def __init__(self, data: TensorDataset) -> None:
        self.data, self.epoch = data, -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, target = self.data[index]
        noise = 0.1 * torch.randn(()) + 0.1 * random.random() + 0.1 * float(np.random.rand()) + 0.01 * self.epoch
        return image + noise, target


QUICK = Settings(epochs=3, batch_size=8, log_every=2, checkpoint_every=0)


def bits(model: MultiTask, name: str) -> dict[str, bytes]:
    """A task's tensors, as bytes."""
    return {key: tensor.numpy().tobytes() for key, tensor in model[name].state_dict().items()}

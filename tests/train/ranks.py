"""Networks for `rank="auto"`: one for each kind of layer, and a problem whose ranks are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from taskfold import FTN, FTNQueryValue, LoRA, Method, MultiTask, TLoRA
from taskfold.train import TaskSet

SIZES = ((40, 8), (8, 40), (16, 32), (32, 16))
"""Inputs and outputs of the parallel layers: all of their components have 48 numbers."""
RANKS = {"a": (4, 0, 1, 3), "b": (0, 4, 4, 0)}
BUDGET = 48 * 8
"""Rank 2 everywhere, so that each layer begins with 4."""


class Parallel(nn.Module):
    """Linear layers side by side, so that no layer can do what another should."""

    num_features = sum(out for _, out in SIZES)

    def __init__(self) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList(nn.Linear(inp, out, bias=False) for inp, out in SIZES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x[:, : layer.in_features]) for layer in self.layers], 1)


def planted(ranks: Sequence[int], seed: int = 0) -> tuple[Parallel, TaskSet]:
    """The network, and what it says with updates of such ranks, with some noise."""
    torch.manual_seed(0)
    network = Parallel()
    dice = torch.Generator().manual_seed(seed)
    x = torch.randn(320, 40, generator=dice)
    targets = []
    for layer, (inp, out), rank in zip(network.layers, SIZES, ranks, strict=True):
        one, other = torch.randn(out, rank, generator=dice), torch.randn(rank, inp, generator=dice)
        update = 3 * one @ other / (inp * out) ** 0.5
        targets.append(x[:, :inp] @ (layer.weight.detach() + update).T)
    y = torch.cat(targets, 1)
    y += 0.05 * torch.randn(y.shape, generator=dice)
    return network, TaskSet(TensorDataset(x[:256], y[:256]), TensorDataset(x[256:], y[256:]))


def squared(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
    """`[B]`."""
    x, y = batch
    return torch.stack([(one - own).square().mean() for one, own in zip(model(x, task=list(tasks)), y, strict=True)])


class Attends(nn.Module):
    """A convolution and torch's own attention."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(self.patches(x).flatten(2).mT).mean(1)


class Reads(nn.Module):
    """An embedding and a recurrent layer."""

    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 6)
        self.reader = nn.GRU(6, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.reader(self.words(x))[0][:, -1]


def convolutional() -> nn.Module:
    """Plain, grouped and pointwise convolutions, and a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU()),
        *(nn.Conv2d(8, 12, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)),
    )


def images() -> Tensor:
    return torch.randn(6, 3, 8, 8)


def words() -> Tensor:
    return torch.randint(12, (6, 5))


CASES: dict[str, tuple[Method, Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "ftn": (FTN(rank="auto", budget=100), convolutional, images),
    "lora on all": (LoRA(rank="auto", budget=150, layers="all", alpha=3.0), convolutional, images),
    "lora on linear": (LoRA(rank="auto", budget=60, layers="linear"), convolutional, images),
    "tlora": (TLoRA(rank="auto", budget=100, layers="all", tensor_rank=2), convolutional, images),
    "ftn on attention": (FTNQueryValue(rank="auto", budget=60), Attends, images),
    "lora on attention": (LoRA(rank="auto", budget=0.05, layers="attention"), Attends, images),
    "lora on embeddings": (LoRA(rank="auto", budget=60, layers="embedding"), Reads, words),
    "lora on recurrent": (LoRA(rank="auto", budget=60, layers="recurrent"), Reads, words),
}
"""Every kind of layer that LoRA, TLoRA and FTN adapt."""

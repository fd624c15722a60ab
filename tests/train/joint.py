"""Several tasks that share, on small data, for every test of joint training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from taskfold import LoRA, Method, MultiTask
from taskfold.train import JointSettings, OptimizerSettings, TaskSet

from .classes import classification

SIZES = {"a": 20, "b": 12, "c": 5}
EVEN = {**SIZES, "c": 4}
"""Batches of 4 leave nothing over, which two processes could not share."""
SHARED = LoRA(rank=2, init="normal", sharing="shared")
PRIVATE = LoRA(rank=2, init="normal")
SGD = OptimizerSettings(optimizer="sgd", lr=0.1, momentum=0.0)
QUICK = JointSettings(epochs=3, batch_size=8, log_every=2, checkpoint_every=0)
ONE_STEP = JointSettings(
    max_steps=1,
    batch_size=37,
    schedule="constant",
    warmup=0,
    select_by="loss",
    optimizers={"factors": SGD, "head": SGD},
)


def team(method: Method = SHARED, *, norm: bool = False, seed: int = 0) -> MultiTask:
    """Three tasks on a network without dropout, so that a mixed batch is exactly its tasks one by one."""
    torch.manual_seed(0)
    net: list[nn.Module] = [nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 6)]
    if norm:
        net = [nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 6)]
    model = MultiTask(nn.Sequential(*net), method, num_features=6)
    torch.manual_seed(seed)
    for number, name in enumerate(SIZES):
        model.add_task(name, 2 + number)
    return model


def points(name: str, size: int, seed: int = 0) -> TensorDataset:
    """Inputs `[size, 3, 2, 2]` whose class depends on the task."""
    number = list(SIZES).index(name)
    dice = torch.Generator().manual_seed(100 * seed + number)
    targets = torch.randint(2 + number, (size,), generator=dice)
    inputs = torch.randn(size, 3, 2, 2, generator=dice)
    inputs[:, number % 3] += targets[:, None, None]
    return TensorDataset(inputs, targets)


def sets(sizes: Mapping[str, int] = SIZES) -> dict[str, TaskSet]:
    """Training and validation data of each task."""
    return {name: TaskSet(points(name, size), points(name, 7, 1)) for name, size in sizes.items()}


def everything(model: MultiTask) -> dict[str, bytes]:
    """All tensors of a model, as bytes."""
    return {key: tensor.detach().numpy().tobytes() for key, tensor in model.state_dict().items()}


class Watching:
    """The usual objective; remembers what every tensor was before each step, and which tasks were in its batch."""

    def __init__(self) -> None:
        self.before: list[dict[str, bytes]] = []
        self.names: list[list[str]] = []

    def __call__(self, model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        if model.training and torch.is_grad_enabled():  # and not a trial of a row by itself
            self.before.append(everything(model))
            self.names.append(list(tasks))
        return classification().loss(model, batch, tasks)

    def moved(self) -> list[tuple[set[str], set[str]]]:
        """Per step but the last: the tasks in its batch, and the tensors that moved."""
        pairs = zip(self.before, self.before[1:], strict=False)
        changed = [{key for key in before if before[key] != after[key]} for before, after in pairs]
        return [(set(names), keys) for names, keys in zip(self.names, changed, strict=False)]

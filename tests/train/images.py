"""Inputs that serve several tasks at once, with targets for some of them each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from taskfold import MultiTask
from taskfold.train import TaskSet

from .joint import SIZES, everything

NAMES = tuple(SIZES)
Sample = tuple[Tensor, dict[str, int]]


class Images(Dataset[Sample]):
    """`(input [3, 2, 2], {task: class})`. Of ten inputs, every one has a target for a, six for b, one for c, one none.

    Stops the run when a sample of some pass is asked for, if it is told to.
    """

    def __init__(self, size: int, seed: int = 0, stop: tuple[int, int] | None = None) -> None:
        dice = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(size, 3, 2, 2, generator=dice)
        self.stop, self.number, self.drawn = stop, 0, list[tuple[int, int]]()

    def set_epoch(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return len(self.inputs)

    def targets(self, index: int) -> dict[str, int]:
        lower = (self.inputs[index].mean((1, 2)) > 0).int().tolist()
        found = {"a": lower[0], "b": lower[0] + lower[1], "c": sum(lower)}
        there = {"a": index % 10 != 9, "b": index % 10 in range(1, 7), "c": index % 10 == 3}
        return {name: target for name, target in found.items() if there[name]}

    def __getitem__(self, index: int) -> Sample:
        if self.stop == (self.number, index):
            raise KeyboardInterrupt
        self.drawn.append((self.number, index))
        return self.inputs[index], self.targets(index)


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    return {"x": torch.stack([x for x, _ in samples]), "y": [y for _, y in samples]}


def losses(model: MultiTask, batch: Any, tasks: Sequence[str]) -> dict[str, Tensor]:
    """Cross-entropy of those rows that have a target; tasks that no row has one for are not run."""
    rows = {task: [row for row, y in enumerate(batch["y"]) if task in y] for task in tasks}
    present = [task for task in tasks if rows[task]]
    if not present:
        return {}
    outputs = model(batch["x"], task=present, broadcast=True)
    found = {}
    for task in present:
        targets = torch.tensor([batch["y"][row][task] for row in rows[task]])
        found[task] = F.cross_entropy(outputs[task][rows[task]], targets, reduction="none")
    return found


class Watched:
    """These losses; remembers what every tensor was before each step, what trained, and whose losses there were."""

    def __init__(self) -> None:
        self.before: list[dict[str, bytes]] = []
        self.trained: list[set[str]] = []
        self.names: list[set[str]] = []

    def __call__(self, model: MultiTask, batch: Any, tasks: Sequence[str]) -> dict[str, Tensor]:
        found = losses(model, batch, tasks)
        if model.training:
            self.before.append(everything(model))
            self.trained.append({key for key, p in model.named_parameters() if p.requires_grad})
            self.names.append({*found})
        return found

    def moved(self) -> list[set[str]]:
        """Per step but the last, the tensors that moved; running statistics move in the forward pass before it."""
        pairs = zip(self.before, self.before[1:], strict=False)
        return [{key for key in before if before[key] != after[key]} for before, after in pairs]


def images(train: int = 30, val: int = 20, **changes: Any) -> Mapping[tuple[str, ...], TaskSet]:
    return {NAMES: TaskSet(Images(train, **changes), Images(val, 1))}

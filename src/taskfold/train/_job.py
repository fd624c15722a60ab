"""What is to be trained, on what, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ..evaluate import Loss
from ..model import MultiTask
from ..tasks import Task
from ._sampler import Batches, Keyed
from .settings import Settings

STATISTICS_BATCHES = 200
"""Batches to re-estimate running statistics on, at the most: thousands of images have said what they will."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        model, name: the task, on the accelerator's device.
        groups: its trainable parameters, by kind.
        train, val, plain: training and validation data, and training data without augmentation.
        sizes: how many samples they have.
        loss, val_loss: of training and of validation.
    """

    model: MultiTask
    name: str
    groups: dict[str, list[nn.Parameter]]
    train: Dataset[Any]
    val: Dataset[Any]
    plain: Dataset[Any]
    sizes: dict[str, int]
    loss: Loss
    val_loss: Loss
    settings: Settings
    accelerator: Accelerator

    @property
    def task(self) -> Task:
        """The task itself."""
        return self.model[self.name]

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.accelerator.device

    def batches(self, which: str = "train") -> Batches:
        """This process's batches of the training data."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return Batches(self.sizes[which], self.settings.batch_size, self.settings.seed, rank, processes)

    def train_loader(self, batches: Batches) -> DataLoader[Any]:
        """The training data in these batches."""
        return self._loader(Keyed(self.train, self.settings.seed), batch_sampler=batches)

    def val_loader(self) -> DataLoader[Any]:
        """This process's share of the validation data; together they are the whole, each sample once."""
        share = range(self.accelerator.process_index, self.sizes["val"], self.accelerator.num_processes)
        return self._loader(Subset(self.val, share), batch_size=self.settings.batch_size)

    def plain_inputs(self) -> Iterator[Tensor]:
        """This process's share of the inputs for running statistics, on the device."""
        data = Keyed(self.plain, self.settings.seed)
        loader = self._loader(data, batch_sampler=self.batches("plain"))
        for number, (inputs, _) in enumerate(loader):
            if number == STATISTICS_BATCHES:
                return
            yield inputs.to(self.device, non_blocking=True)

    def _loader(self, data: Dataset[Any], **batching: Any) -> DataLoader[Any]:
        workers, cuda = self.settings.workers, self.device.type == "cuda"
        return DataLoader(data, num_workers=workers, persistent_workers=workers > 0, pin_memory=cuda, **batching)

"""What is to be trained, on what, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from ..evaluate import Loss
from ..model import MultiTask
from ..tasks import Task
from ._sampler import Batches, Keyed
from .settings import Settings


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

    def train_loader(self, data: Dataset[Any], batches: Batches) -> DataLoader[Any]:
        """Training data in these batches."""
        return self._loader(Keyed(data, self.settings.seed), batch_sampler=batches)

    def val_loader(self) -> DataLoader[Any]:
        """This process's share of the validation data; together they are the whole, each sample once."""
        share = range(self.accelerator.process_index, self.sizes["val"], self.accelerator.num_processes)
        return self._loader(Subset(self.val, share), batch_size=self.settings.batch_size)

    def _loader(self, data: Dataset[Any], **batching: Any) -> DataLoader[Any]:
        workers, cuda = self.settings.workers, self.device.type == "cuda"
        loader = DataLoader(data, num_workers=workers, persistent_workers=workers > 0, pin_memory=cuda, **batching)
        if workers:
            # Start them now, while no other thread is busy: a process forked amid distributed work can deadlock.
            iter(loader)
        return loader

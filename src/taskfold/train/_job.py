"""What is to be trained, on what, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from ..model import MultiTask
from ._belongings import Belongings
from ._data import Apart
from ._gradients import Gradients
from ._mixture import Mixture
from ._sampler import Batches
from ._seams import Seams, TaskSet
from .settings import Settings


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        model: with the tasks, on the accelerator's device.
        sets: data of each task, by name.
        moves: what it may change.
        seams: how samples become batches, losses and measures.
        gradients: how losses become gradients.
        mixture: how much of each task an epoch has.
        weights: factors on the tasks' losses, as reported.
    """

    model: MultiTask
    sets: Mapping[str, TaskSet]
    moves: Belongings
    seams: Seams
    gradients: Gradients
    mixture: Mixture
    weights: Sequence[float]
    settings: Settings
    accelerator: Accelerator

    @property
    def names(self) -> list[str]:
        """The tasks' names; their order is the tasks' numbers."""
        return list(self.sets)

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.accelerator.device

    @property
    def plain(self) -> Mixture:
        """The training inputs without augmentation, of all tasks."""
        return Mixture.of(tuple(len(one.unaugmented) for one in self.sets.values()))  # type: ignore[arg-type]

    def batches(self, mixture: Mixture) -> Batches:
        """This process's batches of such a mixture."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return Batches(mixture, self.settings.batch_size, self.settings.seed, rank, processes)

    def loader(self, data: Dataset[Any], batches: Any) -> DataLoader[Any]:
        """Samples in these batches, as (numbers of their tasks, batch)."""
        workers, cuda = self.settings.workers, self.device.type == "cuda"
        loader = DataLoader(
            data,
            batch_sampler=batches,
            collate_fn=Apart(self.seams.collate),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=cuda,
        )
        if workers:
            # Start them now, while no other thread is busy: a process forked amid distributed work can deadlock.
            iter(loader)
        return loader

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
from ._mixture import Mixture
from ._objective import Objective
from ._passes import Turn
from ._sampler import Batches
from ._seams import TaskSet
from .settings import Settings


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        model: with the tasks, on the accelerator's device.
        sets: the data, by the names of the tasks that they are of.
        moves: what it may change.
        objective: how samples become batches, losses and measures.
        turns: what the passes over the data train that make an epoch.
        mixture: how much of each data set an epoch has.
        alone: epochs at the start of the first turn alone.
    """

    model: MultiTask
    sets: Mapping[tuple[str, ...], TaskSet]
    moves: Belongings
    objective: Objective
    turns: Sequence[Turn]
    mixture: Mixture
    settings: Settings
    accelerator: Accelerator
    alone: int = 0

    @property
    def names(self) -> list[str]:
        """The tasks' names; their order is the tasks' numbers."""
        return [name for names in self.sets for name in names]

    @property
    def members(self) -> list[list[int]]:
        """Numbers of the tasks that each data set is of."""
        numbers = iter(range(len(self.names)))
        return [[next(numbers) for _ in names] for names in self.sets]

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.accelerator.device

    @property
    def plain(self) -> Mixture:
        """The training inputs without augmentation, of all data sets."""
        return Mixture.of(tuple(len(one.unaugmented) for one in self.sets.values()))  # type: ignore[arg-type]

    def batches(self, mixture: Mixture) -> Batches:
        """This process's batches of such a mixture."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return Batches(mixture, self.settings.batch_size, self.settings.seed, rank, processes)

    def loader(self, data: Dataset[Any], batches: Any) -> DataLoader[Any]:
        """Samples in these batches, as (numbers of their data sets, batch)."""
        workers, cuda = self.settings.workers, self.device.type == "cuda"
        loader = DataLoader(
            data,
            batch_sampler=batches,
            collate_fn=Apart(self.objective.collate),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=cuda,
        )
        if workers:
            # Start them now, while no other thread is busy: a process forked amid distributed work can deadlock.
            iter(loader)
        return loader

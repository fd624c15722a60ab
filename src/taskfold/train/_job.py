"""What is to be trained, on what, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from ..methods import Method, Phase, method_of
from ..model import MultiTask
from ._belongings import Belongings
from ._data import Apart
from ._joint_settings import JointSettings
from ._mixture import Mixture
from ._objective import Objective
from ._passes import Plan, Regime
from ._rates import optimisers_of
from ._regimes import phases_of, regimes
from ._sampler import Batches
from ._seams import TaskSet
from ._statistics import trains_on_batches
from ._uncertainty import UNCERTAINTY
from .settings import OptimizerSettings, Settings


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        model: with the tasks, on the accelerator's device.
        sets: the data, by the names of the tasks that they are of.
        moves: what it may change.
        objective: how samples become batches, losses and measures.
        methods: of each task, in order: their hooks are asked.
        optimisers: of each group of parameters, and of the learned weights of losses.
        phases, regimes: which groups train when; and of each phase, what its turns train, and how.
        mixture: how much of each data set an epoch has.
    """

    model: MultiTask
    sets: Mapping[tuple[str, ...], TaskSet]
    moves: Belongings
    objective: Objective
    methods: Mapping[str, Method]
    optimisers: Mapping[str, OptimizerSettings]
    phases: Sequence[Phase]
    regimes: Sequence[Sequence[Regime]]
    mixture: Mixture
    settings: Settings
    accelerator: Accelerator

    @classmethod
    def of(
        cls,
        model: MultiTask,
        sets: Mapping[tuple[str, ...], TaskSet],
        moves: Belongings,
        objective: Objective,
        mixture: Mixture,
        settings: Settings,
        accelerator: Accelerator,
    ) -> Job:
        """With what settings and the tasks' methods say of optimisers and phases.

        Raises:
            ValueError: they name tasks or groups that there are not, leave nothing to do, or do not fit each other.
            ImportError: `balance` needs TorchJD, which is not installed.
        """
        methods = {name: method_of(task) for name, task in moves.tasks.items()}
        optimisers = optimisers_of(settings, moves)
        if isinstance(settings, JointSettings) and settings.weighting == "uncertainty":
            moves, optimisers[UNCERTAINTY] = moves.with_uncertainty(accelerator.device), settings.uncertainty
        phases = phases_of(settings, methods)
        bound = regimes(settings, phases, moves, accelerator)
        return cls(model, sets, moves, objective, methods, optimisers, phases, bound, mixture, settings, accelerator)

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
    def sought(self) -> frozenset[str]:
        """Groups of parameters whose learning rates a range test finds; what they have is where it begins."""
        return frozenset(self.moves.groups.keys() - self.settings.optimizers.keys() if self.settings.lr else ())

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.accelerator.device

    @property
    def plain(self) -> Mixture:
        """The training inputs without augmentation, of all data sets."""
        return Mixture.of(tuple(len(one.unaugmented) for one in self.sets.values()))  # type: ignore[arg-type]

    def plan(self, batches: int) -> Plan:
        """All passes over the data, of so many batches each.

        Raises:
            ValueError: phases and settings do not fit each other.
        """
        return Plan(self.phases, self.regimes, batches, self.settings.epochs, self.settings.max_steps)

    def batches(self, mixture: Mixture) -> Batches:
        """This process's batches of such a mixture."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        least = 2 if trains_on_batches(self.model, self.names) else 1
        return Batches(mixture, self.settings.batch_size, self.settings.seed, rank, processes, least)

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

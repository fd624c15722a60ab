"""The job: what a training trains, on which data, and how."""

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
from ._statistics import check_heeded, trains_on_batches
from ._uncertainty import UNCERTAINTY
from .settings import OptimizerSettings, Settings


@dataclass(frozen=True)
class Job:
    """The parts of one training.

    Attributes:
        model: with the tasks, on the accelerator's device.
        sets: the data, by the names of their tasks.
        moves: the tensors that the training may change.
        objective: how samples become batches, losses and measures.
        methods: each task's method, in order, whose hooks the trainer calls.
        optimisers: one for each group of parameters, and for learned loss weights.
        phases, regimes: which groups train when; for each phase, the regimes of its turns.
        mixture: the share of each data set in an epoch.
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
        """A job with the optimisers and phases that the settings and the tasks' methods name.

        Raises:
            ValueError: they name unknown tasks or groups, train nothing, or contradict each other.
            ImportError: `balance` needs TorchJD, which is not installed.
        """
        methods = {name: method_of(task) for name, task in moves.tasks.items()}
        optimisers = optimisers_of(settings, moves)
        check_heeded(settings, model, moves.tasks)
        if isinstance(settings, JointSettings) and settings.weighting == "uncertainty":
            moves, optimisers[UNCERTAINTY] = moves.with_uncertainty(accelerator.device), settings.uncertainty
        phases = phases_of(settings, methods)
        bound = regimes(settings, phases, moves, accelerator)
        return cls(model, sets, moves, objective, methods, optimisers, phases, bound, mixture, settings, accelerator)

    @property
    def names(self) -> list[str]:
        """The tasks' names; a task's number is its position."""
        return [name for names in self.sets for name in names]

    @property
    def members(self) -> list[list[int]]:
        """The tasks' numbers for each data set."""
        numbers = iter(range(len(self.names)))
        return [[next(numbers) for _ in names] for names in self.sets]

    @property
    def sought(self) -> frozenset[str]:
        """Groups whose learning rates a range test finds, from their present ones on."""
        return frozenset(self.moves.groups.keys() - self.settings.optimizers.keys() if self.settings.lr else ())

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def plain(self) -> Mixture:
        """The training inputs without augmentation, of all data sets."""
        return Mixture.of(tuple(len(one.unaugmented) for one in self.sets.values()))  # type: ignore[arg-type]

    def plan(self, batches: int) -> Plan:
        """The plan of all passes over the data, each of `batches` batches.

        Raises:
            ValueError: phases and settings contradict each other.
        """
        return Plan(self.phases, self.regimes, batches, self.settings.epochs, self.settings.max_steps)

    def batches(self, mixture: Mixture) -> Batches:
        """This process's batches of a mixture."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        least = 2 if trains_on_batches(self.model, self.names) else 1
        return Batches(mixture, self.settings.batch_size, self.settings.seed, rank, processes, least)

    def loader(self, data: Dataset[Any], batches: Any) -> DataLoader[Any]:
        """A loader of these batches as (numbers of their data sets, batch)."""
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
            # Start the workers now, while no other thread is busy: a process forked amid distributed work can deadlock.
            iter(loader)
        return loader

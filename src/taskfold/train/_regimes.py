"""From phases and settings to regimes: what each pass over the data trains, and how."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import nn

from ..methods import Method, Phase, Turn
from ._balance import aggregator
from ._belongings import Belongings
from ._gradients import Balanced, Gradients, Plain
from ._joint_settings import JointSettings
from ._passes import Regime
from ._uncertainty import Uncertainty
from .settings import Settings

REST, ALL = "rest", "all"
"""Names of passes: one trains the groups that the other turns of its phase leave, the other trains all groups."""


def phases_of(settings: Settings, methods: Mapping[str, Method]) -> tuple[Phase, ...]:
    """The settings' phases or, without any, those of the tasks' methods.

    Args:
        settings: the training's.
        methods: the methods, by task.

    Raises:
        ValueError: methods name different phases.
    """
    if settings.phases is not None:
        return settings.phases
    named = {name: tuple(method.phases) for name, method in methods.items()}
    first = next(iter(named))
    for name, phases in named.items():
        if phases != named[first]:
            raise ValueError(
                f"the methods of tasks {first!r} ({methods[first].name}) and {name!r} ({methods[name].name}) name "
                "different phases; say in the settings which phases the training has"
            )
    return named[first] or (Phase(),)


def regimes(
    settings: Settings, phases: Sequence[Phase], moves: Belongings, accelerator: Accelerator
) -> list[list[Regime]]:
    """The regimes of each phase's turns.

    Raises:
        ValueError: settings or phases name unknown tasks or groups, or train nothing.
        ImportError: `balance` needs TorchJD, which is not installed.
    """
    joint = settings if isinstance(settings, JointSettings) else JointSettings()
    bound = _Binding(joint, moves, accelerator, single=len(phases) == len(phases[0].passes) == 1)
    found = [[bound.regime(turn, phase.passes) for turn in phase.passes] for phase in phases]
    every = [regime for own in found for regime in own]
    if forgotten := frozenset.intersection(*(regime.idle for regime in every)):
        raise ValueError(
            f"task {list(moves.tasks)[min(forgotten)]!r}: no phase trains any of its parameters; name one of their "
            "groups in a phase, or leave the task out"
        )
    if unmoved := settings.optimizers.keys() - bound.trained:
        raise ValueError(
            f"optimizers lists {min(unmoved)!r}, and no phase trains parameters of that group; leave it out, or name "
            "the group in a phase"
        )
    weighted = [turn for phase in phases for turn in phase.passes if not turn.own_loss]
    if not weighted and (joint.balance is not None or joint.weighting != "fixed" or joint.task_weights):
        raise ValueError(
            f"balance={joint.balance!r}, weighting={joint.weighting!r} and task_weights={joint.task_weights} have no "
            "meaning where every turn of the phases has own_loss; leave them out"
        )
    if joint.balance is not None and not any(isinstance(regime.gradients, Balanced) for regime in every):
        raise ValueError(
            f"balance={joint.balance!r} needs something that the tasks share, and nothing that a pass trains by the "
            "common loss is shared; leave it out, or use a method with shared factors"
        )
    return found


class _Binding:
    """Binds turns to the parameters of a training; equal turns of several phases are bound once."""

    def __init__(self, settings: JointSettings, moves: Belongings, accelerator: Accelerator, single: bool) -> None:
        self.settings, self.moves, self.accelerator, self.single = settings, moves, accelerator, single
        self.weights = _weights(settings, list(moves.tasks))
        self.trained: set[str] = set()
        self.known: dict[tuple[frozenset[str], bool, str], Regime] = {}

    def regime(self, turn: Turn, turns: Sequence[Turn]) -> Regime:
        """The regime of a turn; `turns` are all turns of its phase."""
        moves = self.moves
        self._check(turn)
        named = {group for other in turns for group in other.groups}
        groups = frozenset(turn.groups or moves.groups.keys() - named)
        if not groups:
            raise ValueError(
                f"phases leave nothing for the turn {REST!r}: there is nothing but {_listed(moves)}; leave it out, or "
                "name fewer groups"
            )
        self.trained |= groups
        name = "+".join(turn.groups) or (REST if named else "" if self.single else ALL)
        key = groups, turn.own_loss, name
        if key not in self.known:
            still = [*moves.of(moves.groups.keys() - groups), *(moves.uncertainty.values() if turn.own_loss else ())]
            weights = [1.0] * len(moves.tasks) if turn.own_loss else self.weights
            gradients = self._gradients(groups, weights, turn.own_loss)
            self.known[key] = Regime(gradients, weights, still, moves.idle(moves.of(groups)), name)
        return self.known[key]

    def _check(self, turn: Turn) -> None:
        for group in turn.groups:
            if group not in self.moves.groups:
                raise ValueError(
                    f"phases name {group!r}, and no task of this training trains parameters of that group; there are: "
                    f"{_listed(self.moves)}"
                )

    def _gradients(self, groups: Collection[str], weights: Sequence[float], own_loss: bool) -> Gradients:
        settings, moves, accelerator = self.settings, self.moves, self.accelerator
        parameters = moves.of(groups)
        if own_loss:
            return Plain.of(parameters, weights, accelerator)
        if settings.weighting == "uncertainty":
            logs = list(moves.uncertainty.values())
            return Uncertainty(parameters, logs, torch.tensor(weights, device=accelerator.device), accelerator)
        shared = _those(moves.shared.values(), parameters)
        if settings.balance is None or not shared:
            return Plain.of(parameters, weights, accelerator)
        return Balanced.of(aggregator(settings.balance), shared, _those(moves.own, parameters), weights, accelerator)


def _weights(settings: JointSettings, names: Sequence[str]) -> list[float]:
    for name in settings.task_weights:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"task_weights names {name!r}, which is not among the tasks{hint}")
    return [settings.task_weights.get(name, 1.0) for name in names]


def _listed(moves: Belongings) -> str:
    return ", ".join(sorted(moves.groups))


def _those(some: Collection[nn.Parameter], among: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    there = {id(parameter) for parameter in among}
    return [parameter for parameter in some if id(parameter) in there]

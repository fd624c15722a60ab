"""From settings to what the passes of an epoch train, and how."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

import torch
from accelerate import Accelerator
from torch import nn

from ._balance import aggregator
from ._belongings import Belongings
from ._gradients import Balanced, Gradients, Plain
from ._joint_settings import JointSettings
from ._passes import Turn
from ._uncertainty import Uncertainty

REST = "rest"
"""What the second pass is called."""


def single(moves: Belongings, accelerator: Accelerator) -> list[Turn]:
    """One pass for one task."""
    return [Turn(Plain.of(moves.parameters, [1.0], accelerator), [1.0])]


def turns(settings: JointSettings, moves: Belongings, accelerator: Accelerator) -> list[Turn]:
    """One pass for everything, or one for what alternates and one for the rest.

    Raises:
        ValueError: settings name tasks or kinds that there are not, or leave nothing to do.
        ImportError: `balance` needs TorchJD, which is not installed.
    """
    names, kinds = list(moves.tasks), moves.groups.keys() - {"uncertainty"}
    weights = _weights(settings, names)
    if not settings.alternate:
        return [Turn(_gradients(settings, moves, moves.groups, weights, accelerator), weights)]
    for kind in settings.alternate:
        if kind not in kinds:
            raise ValueError(
                f"alternate={settings.alternate} names {kind!r}, and no task trains parameters of that kind; "
                f"there are: {', '.join(sorted(kinds))}"
            )
    rest = kinds - {*settings.alternate}
    if not rest:
        raise ValueError(
            f"alternate={settings.alternate} leaves nothing for the second pass: there is nothing but "
            f"{', '.join(sorted(kinds))}; leave it out, or name fewer kinds"
        )
    first, second = moves.of(settings.alternate), moves.of(rest)
    ones = [1.0] * len(names)
    return [
        Turn(
            Plain.of(first, ones, accelerator),
            ones,
            [*second, *moves.of({"uncertainty"})],
            moves.idle(first),
            "+".join(settings.alternate),
        ),
        Turn(_gradients(settings, moves, rest, weights, accelerator), weights, first, moves.idle(second), REST),
    ]


def _weights(settings: JointSettings, names: Sequence[str]) -> list[float]:
    for name in settings.task_weights:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"task_weights names {name!r}, which is not among the tasks{hint}")
    return [settings.task_weights.get(name, 1.0) for name in names]


def _gradients(
    settings: JointSettings,
    moves: Belongings,
    kinds: Collection[str],
    weights: Sequence[float],
    accelerator: Accelerator,
) -> Gradients:
    """Of the multi-task loss, for parameters of these kinds."""
    parameters = moves.of({*kinds} - {"uncertainty"})
    if settings.weighting == "uncertainty":
        logs = list(moves.uncertainty.values())
        return Uncertainty(parameters, logs, torch.tensor(weights, device=accelerator.device), accelerator)
    if settings.balance is None:
        return Plain.of(parameters, weights, accelerator)
    shared = _those(moves.shared.values(), parameters)
    if not shared:
        raise ValueError(
            f"balance={settings.balance!r} needs something that the tasks share, and they share nothing; leave it out, "
            "or use a method with shared factors"
        )
    own = _those(moves.own, parameters)
    return Balanced.of(aggregator(settings.balance), shared, own, weights, accelerator)


def _those(some: Collection[nn.Parameter], among: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    there = {id(parameter) for parameter in among}
    return [parameter for parameter in some if id(parameter) in there]

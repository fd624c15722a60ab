"""The optimiser of each group of parameters: from the settings, or Adam at the rate that the tasks name."""

from __future__ import annotations

from collections.abc import Sequence

from ..factors import Group, lowest_rates
from ..layers import groups_of_inventory
from ..model import MultiTask, names_of_any
from ..tasks import Task
from ._belongings import Belongings, belongings
from ._uncertainty import UNCERTAINTY
from .settings import OptimizerSettings, Settings


def group_rates(model: MultiTask, names: Sequence[str]) -> dict[str, float]:
    """The default learning rates of the groups of parameters that training these tasks moves.

    They include the inventory's groups if it trains along. `Settings.only` leaves out optimisers of other groups.

    Raises:
        TypeError: `names` is not a collection of strings.
        ValueError: as for the training; or tasks name different rates for a group.

    Example:
        >>> import torch, taskfold as tfold
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> model = tfold.MultiTask(net, tfold.Poly(rank=2), num_features=8)
        >>> _ = model.add_task("one", head=2)
        >>> group_rates(model, ["one"])
        {'factors': 0.01, 'head': 0.005, 'routing': 0.1}
    """
    moves = belongings(model, names_of_any(names))
    return {group: _rate(moves, group) for group in sorted(moves.groups)}


def optimisers_of(settings: Settings, moves: Belongings) -> dict[str, OptimizerSettings]:
    """The optimiser of each trained group.

    Raises:
        ValueError: the settings list an unknown group; or tasks name different rates for an unlisted group.
    """
    for group in settings.optimizers:
        if group not in moves.groups:
            raise ValueError(
                f"optimizers lists {group!r}, and no task of this training trains parameters of that group; there are: "
                f"{', '.join(sorted(moves.groups))}"
            )
    if UNCERTAINTY in moves.groups:
        raise ValueError(
            f"tasks have parameters of a group {UNCERTAINTY!r}, and so are the learned weights of losses called; the "
            "method must give the group another name"
        )
    if settings.lr == "auto" and not moves.groups.keys() - settings.optimizers.keys():
        raise ValueError(
            "lr='auto' finds the learning rates of groups that optimizers does not list, and it lists all that train: "
            f"{', '.join(sorted(moves.groups))}; leave lr out, or those whose rates it shall find"
        )
    listed = settings.optimizers
    return {group: listed.get(group) or OptimizerSettings(lr=_rate(moves, group)) for group in moves.groups}


def _rate(moves: Belongings, group: str) -> float:
    named = {name: rates[group] for name, task in moves.tasks.items() if group in (rates := _rates(task))}
    if len({*named.values()}) > 1:
        said = ", ".join(f"{rate:g} by {name!r}" for name, rate in named.items())
        raise ValueError(
            f"tasks name different default learning rates for the group {group!r} ({said}), which has one optimiser; "
            "list it in optimizers"
        )
    return next(iter(named.values()))


def _rates(task: Task) -> dict[str, float]:
    """The rates of the task's own groups, and of its shared groups."""
    own, shared = task.rates(), [group for group in groups_of_inventory(task).values() if group.trained]
    return lowest_rates([*shared, *(Group(name, rate) for name, rate in own.items())])

"""Settings that a configuration gives once for tasks of several methods, and that act on some of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from ..config import TaskPart
from ..config.run import Config, TaskConfig
from ..model import MultiTask
from ..train import Settings, group_rates, idle_settings
from ._output import UserError
from ._ready import PlacedError

_OF_TASKS = ("optimizers", "phases", "adapt_norm", "norm_momentum")
"""Settings of a training that act on some tasks only."""


def fitted(plan: Config, model: MultiTask, whole: bool) -> list[TaskConfig]:
    """The configuration's tasks, each with the optimisers and settings of statistics that act on something it has.

    What is given for all must act on some task, and what a task gives on that task; phases name groups of every task.
    Without `whole` the plan has a part of the tasks, and nothing is known about what is given for all.
    """
    groups = {task.name: group_rates(model, [task.name]) for task in plan.tasks}
    idle = {task.name: idle_settings(model, [task.name]) for task in plan.tasks}
    document = plan._document
    if whole:
        there = {group for rates in groups.values() for group in rates}
        _check("train", document.get("train"), there, idle_settings(model, [task.name for task in plan.tasks]))
    for number, task in enumerate(plan.tasks):
        place = plan.place(number)
        _check(f"tasks[{place}].train", document["tasks"][place].get("train"), groups[task.name], idle[task.name])
        _known(f"{plan.key(number, 'train')}.phases", _turning(task.train), groups[task.name])
    return [
        task.model_copy(update={"train": task.train.only(groups[task.name], idle[task.name])}) for task in plan.tasks
    ]


def early(plan: Config, whole: bool) -> Callable[[MultiTask], None] | None:
    """A check of what settings name, for `prepare`; None: they name nothing that a task may lack."""
    said = str([plan._document.get(key) for key in ("train", "together", "tasks")])
    return partial(_check_all, plan, whole=whole) if any(key in said for key in _OF_TASKS) else None


def check_groups(model: MultiTask, task: TaskPart) -> None:
    """Checks the groups that the settings of a model's task name.

    Raises:
        PlacedError: there is no such group.
    """
    groups = group_rates(model, [task.name])
    try:
        _known("optimizers", task.train.optimizers, groups)
        _known("phases", _turning(task.train), groups)
    except UserError as error:
        raise PlacedError("train", str(error)) from error


def _check_all(plan: Config, model: MultiTask, whole: bool) -> None:
    if plan.together is None:
        fitted(plan, model, whole)
        return
    names = [task.name for task in plan.tasks]
    try:
        groups, idle = group_rates(model, names), idle_settings(model, names)
    except ValueError:  # the training reports it, or its optimisers mend it
        return
    for section in ("train", "together"):
        _check(section, plan._document.get(section), groups, idle)
    _known("together.phases", _turning(plan.together), groups)


def _turning(settings: Settings) -> list[str]:
    return [group for phase in settings.phases or () for turn in phase.passes for group in turn.groups]


def _check(where: str, section: Any, groups: Collection[str], idle: Mapping[str, str]) -> None:
    given = section if isinstance(section, dict) else {}
    _known(f"{where}.optimizers", given.get("optimizers") or (), groups)
    for key, kind in idle.items():
        if key in given and given[key] != (usual := Settings.model_fields[key].default):
            raise UserError(
                f"{where}.{key}: is of BatchNorm with statistics: {kind}, and no task that trains has it, found "
                f"{given[key]!r}; leave {key} at {usual}, or choose a method with statistics: {kind}"
            )


def _known(where: str, named: Iterable[str], groups: Collection[str]) -> None:
    for group in named:
        if group not in groups:
            raise UserError(
                f"{where}: no parameters of a group {group!r} are trained; there are: {', '.join(sorted(groups))}"
            )

"""Settings that a configuration gives once for tasks of several methods, and that act on some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..config.run import Config, TaskConfig
from ..model import MultiTask
from ..train import Settings, group_rates, idle_settings
from ._output import UserError


def fitted(plan: Config, model: MultiTask, whole: bool) -> list[TaskConfig]:
    """The configuration's tasks, each with the optimisers and settings of statistics that act on something it has.

    What is given for all must act on some task, and what a task gives on that task.

    Args:
        plan: the tasks to train.
        model: with these tasks.
        whole: the plan has all tasks of the configuration; of a part nothing is known about what is given for all.
    """
    groups = {task.name: group_rates(model, [task.name]) for task in plan.tasks}
    idle = {task.name: idle_settings(model, [task.name]) for task in plan.tasks}
    document = plan._document
    if whole:
        there = {group for rates in groups.values() for group in rates}
        _check("train", document, there, idle_settings(model, [task.name for task in plan.tasks]))
    for number, task in enumerate(plan.tasks):
        place = plan.place(number)
        _check(f"tasks[{place}].train", document["tasks"][place], groups[task.name], idle[task.name])
    return [
        task.model_copy(update={"train": task.train.only(groups[task.name], idle[task.name])}) for task in plan.tasks
    ]


def _check(where: str, section: Any, groups: Collection[str], idle: Mapping[str, str]) -> None:
    given = section.get("train") or {}
    for group in given.get("optimizers") or {}:
        if group not in groups:
            raise UserError(
                f"{where}.optimizers.{group}: no parameters of that group are trained; there are: "
                f"{', '.join(sorted(groups))}"
            )
    for key, kind in idle.items():
        if key in given and given[key] != (usual := Settings.model_fields[key].default):
            raise UserError(
                f"{where}.{key}: is of BatchNorm with statistics: {kind}, and no task that trains has it, found "
                f"{given[key]!r}; leave {key} at {usual}, or choose a method with statistics: {kind}"
            )

"""Optimisers of groups of parameters, where a configuration lists them once for tasks of different methods."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..config.run import Config, TaskConfig
from ..model import MultiTask
from ..train import group_rates
from ._output import UserError


def fitted(plan: Config, model: MultiTask) -> list[TaskConfig]:
    """What the configuration says of each task, with the optimisers of those groups of parameters that the task has.

    A group that is listed for all tasks must be of one of them at least, a group that a task lists its own.
    """
    there = {task.name: group_rates(model, [task.name]) for task in plan.tasks}
    document = plan._document
    _check("train", document, {group for groups in there.values() for group in groups})
    for number, task in enumerate(plan.tasks):
        place = plan.place(number)
        _check(f"tasks[{place}].train", document["tasks"][place], there[task.name])
    return [task.model_copy(update={"train": task.train.only(there[task.name])}) for task in plan.tasks]


def _check(where: str, section: Any, groups: Collection[str]) -> None:
    for group in (section.get("train") or {}).get("optimizers") or {}:
        if group not in groups:
            raise UserError(
                f"{where}.optimizers.{group}: no parameters of that group are trained; there are: "
                f"{', '.join(sorted(groups))}"
            )

"""Optimisers of groups of parameters that a configuration lists once for tasks of several methods."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..config.run import Config, TaskConfig
from ..model import MultiTask
from ..train import group_rates
from ._output import UserError


def fitted(plan: Config, model: MultiTask) -> list[TaskConfig]:
    """The configuration's tasks, each with the optimisers of the groups of parameters that it has.

    Some task must have each group that is listed for all; a task must have each group that it lists.
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

"""Joint training of a configuration's tasks: all at once, or in groups with an inventory each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..config import TaskPart
from ..config.run import Config
from ..model import MultiTask
from ..report import record
from ..threads import cores
from ..train import JointResult, train_together
from ._groups import group_home, groups_of
from ._origin import Origin
from ._output import say
from ._prepare import Opened, adding, new_model
from ._ready import Ready, say_doubts
from ._same_data import claim
from ._story import Story, say_notes
from ._told import Told
from ._trainings import how, is_main_process, retold, say_rates, size, test
from ._versions import publish, retire

GROUP = "group "


def together(plan: Config, opened: Opened, tasks: list[Ready], fresh: bool) -> Story | None:
    """Train the tasks jointly; in groups, each group has its own inventory."""
    story, main = Story(plan, "train", opened.loaded), is_main_process()
    if main:
        say_notes([task.record for task in tasks])
    groups = groups_of(plan, opened, tasks, fresh, story)
    if groups is None:
        shared = _train(plan, opened.model, tasks, fresh, story)
        if main and shared:
            story.note = f"What the tasks share has {shared:,} numbers; numbers are what each has beside that."
    else:
        _in_groups(plan, opened, tasks, groups, fresh, story)
    if not main:
        return None
    story.save(opened.model)
    retire(plan)
    return story


def _in_groups(
    plan: Config, opened: Opened, tasks: list[Ready], groups: Sequence[Sequence[str]], fresh: bool, story: Story
) -> None:
    said: Mapping[str, TaskPart] = {task.name: task for task in plan.tasks}
    add, parts = adding(plan), list[str]()
    for number, names in enumerate(groups, 1):
        mine = [task for task in tasks if task.name in names]
        apart = replace(opened, model=new_model(opened.loaded))
        for task in mine:
            add(apart, said[task.name], task)
        home = plan.model_copy(update={"output": group_home(plan, number)})
        shared = _train(home, apart.model, mine, fresh, story, f"{GROUP}{number}")
        parts.append(f"{', '.join(names)} ({shared:,} numbers in common)")
        if is_main_process():
            # Each file holds its shared factors too, so that it is used like any other.
            for task in mine:
                publish(plan, apart.model, task, {"told": story.told[task.name].as_json()}, standalone=bool(shared))
            story.save(apart.model)
    if is_main_process():
        Origin.of(plan, inventory=False).write(plan.output)
        story.note = f"Trained in groups: {' · '.join(parts)}; numbers are what each task has beside that."


def _train(plan: Config, model: MultiTask, tasks: list[Ready], fresh: bool, story: Story, group: str = "") -> int:
    """Trains tasks jointly, saves them with what they share, and reports; returns the number of shared parameters."""
    assert plan.together is not None
    settings, main = plan.together.training, is_main_process()
    folder = plan.output / "together"
    if main:
        claim(folder, {"tasks": {task.name: task.identity for task in tasks}}, "these tasks", fresh=fresh)
    settings = settings.model_copy(
        update={"task_weights": {t.name: w for t in tasks if (w := settings.task_weights.get(t.name)) is not None}}
    )
    sets, seams = type(tasks[0]).joint(tasks, settings.seed)
    result: JointResult = retold(lambda: train_together(model, sets, settings, **seams, folder=folder))
    for task in tasks:
        task.settle(model)
    torch.set_num_threads(min(result.threads, cores()))
    say_rates(group or f"{len(tasks)} tasks", result)
    tests = {task.name: test(model, task) for task in tasks}
    shared = sum(leaf.numel() for leaf in model.inventory.parameters())
    if not main:
        return shared
    Origin.of(plan, inventory=bool(shared)).write(plan.output)
    if shared:
        model.save_inventory(plan.inventory_file)
    said = {task.name: task for task in plan.tasks}
    for task in tasks:
        where = {"group": group.removeprefix(GROUP)} if group else {}
        told = Told.in_row(task, tests[task.name], {**where, **size(model, task)}, task.show(model))
        publish(plan, model, task, {"told": told.as_json()})
        story.tell(told)
    story.curves |= {
        f"mean of {group or 'all tasks'}": result.curve,
        **{t.name: [{**point["tasks"][t.name], "step": point["step"]} for point in result.curve] for t in tasks},
    }
    labels = record.labels_of({task.name: said[task.name].method for task in tasks})
    story.document.setdefault("routing", []).extend(routings(model, labels, group))
    say(f"{group or f'{len(tasks)} tasks'}: {how(result)}")
    say_doubts(tests)
    return shared


def routings(model: MultiTask, labels: dict[str, str], group: str = "") -> list[dict[str, Any]]:
    """The routing of tasks over their inventory, one entry for each method that routes."""
    found: list[dict[str, Any]] = []
    for label in dict.fromkeys(labels.values()):
        names = [name for name, own in labels.items() if own == label and model.routing(name)]
        if len(names) > 1:
            found.append(record.routing_record(model, names, f"{label}, {group}" if group else label))
    return found

"""Trains the tasks of a configuration, each by itself; and the parts in common with joint training."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..config import Plan, TaskPart
from ..config.run import Config, TaskConfig
from ..files import BESIDE, bits_beside
from ..model import MultiTask, count_task, file_bytes
from ..report import record
from ..tasks import fingerprint
from ..threads import cores
from ..train import CollapseWarning, Result, train_task
from ._optimisers import fitted
from ._origin import Origin
from ._output import UserError, say, warned
from ._prepare import Opened
from ._ready import Ready, Shown, Tested, named, say_doubts
from ._same_data import claim
from ._story import Story, points, say_notes
from ._told import Told
from ._versions import finished, outdated, publish, retire, say_anew, store_of, trained_on

R = TypeVar("R")


Todo = tuple[Ready, TaskConfig, Mapping[str, Any]]
"""A task, its part of the configuration, and what its numbers depend on."""
Train = Callable[[Sequence[Todo], Callable[[Todo, Result], None]], None]
"""Trains these tasks, and reports each one when it is trained."""


def each_by_itself(
    plan: Config,
    opened: Opened,
    tasks: list[Ready],
    fresh: bool,
    whole: Config,
    train: Train | None = None,
    reports: bool = True,
) -> Story | None:
    """Train each task unless it is finished; only the first process writes."""
    model, main = opened.model, is_main_process()
    story = Story(whole, "train", opened.loaded)
    labels = record.labels_of({task.name: task.method for task in whole.tasks})
    parts = retold(lambda: fitted(plan, model, len(plan.tasks) == len(whole.tasks)))
    backbone = fingerprint(model.backbone)
    said = [trained_on(model, backbone, *each) for each in zip(tasks, parts, strict=True)]
    read = [None if fresh else finished(plan, opened, *each, main) for each in zip(tasks, said, strict=True)]
    if main:
        say_notes([task.record for task, told in zip(tasks, read, strict=True) if told is None])
        Origin.of(plan, inventory=False).write(plan.output)
    for told in read:
        if told is not None:
            story.tell(told)

    def done(one: Todo, result: Result) -> None:
        story.tell(_told(plan, model, one, labels[one[0].name], result))
        if main and reports:
            story.save(model)

    todo = [one for one, told in zip(zip(tasks, parts, said, strict=True), read, strict=True) if told is None]
    if train is not None and todo:
        train(todo, done)
    else:
        for number, one in enumerate(todo, 1):
            title = f"{one[0].name} ({number}/{len(todo)})"
            done(one, train_alone(plan, model, *one, title, fresh))
    if main and reports:
        story.save(model)
        retire(whole)
    return story if main else None


def _told(plan: Config, model: MultiTask, one: Todo, label: str, result: Result) -> Told:
    """Tests a trained task, and publishes it as the current version."""
    task, settings, said = one
    tested = test(model, task)
    shown = task.show(model)
    if tested.accuracy is None:
        cells = {**size(model, task), "seconds": result.seconds}
        told = Told.in_row(task, tested, cells, shown, result.curve)
    else:
        told = Told.in_run(task, tested, _run(model, task, settings, label, result, tested, shown), shown)
    if is_main_process():
        publish(plan, model, task, {"trained": said, "measured": task.measured, "told": told.as_json()})
        say(f"{task.name}: {how(result)}, {told.said}")
        say_doubts({task.name: tested})
    return told


def _run(
    model: MultiTask, task: Ready, settings: TaskConfig, label: str, result: Result, tested: Tested, shown: Shown
) -> dict[str, Any]:
    """A training as an entry of a results document."""
    own = model[task.name]
    return {
        "task": task.name,
        "method": settings.method.name,
        "label": label,
        "settings": dict(own.method["settings"]),
        "seed": settings.train.seed,
        "metrics": {**named(tested), "val_accuracy": result.best["val_accuracy"]},
        "parameters": count_task(own),
        "bytes": file_bytes(own),
        "seconds": result.seconds,
        "curve": points(result.curve),
        "layers": record.layer_changes(model, task.name),
        "predictions": shown.predictions,
    }


def begun(plan: Plan, task: Ready, settings: TaskPart, said: Mapping[str, Any], fresh: bool) -> Path:
    """The folder of a task's training, checked for a start or a resumption."""
    folder = plan.run_folder(settings)
    if is_main_process():
        say_anew(plan, task.name, said)
        away = fresh or outdated(store_of(plan.output), task.name, folder, said)
        claim(folder, said, f"task {task.name!r}", fresh=away)
    return folder


def train_alone(
    plan: Plan, model: MultiTask, task: Ready, settings: TaskPart, said: Mapping[str, Any], label: str, fresh: bool
) -> Result:
    """Train one task by itself, or resume; torch keeps the number of threads that its training ended with."""
    folder, data = begun(plan, task, settings, said, fresh), task.sets(settings.train.seed)
    result: Result = retold(
        lambda: train_task(
            model,
            task.name,
            data.train,
            data.val,
            settings.train,
            folder=folder,
            plain=data.plain,
            label=label,
            **task.seams,
        )
    )
    task.settle(model)
    torch.set_num_threads(min(result.threads, cores()))
    say_rates(task.name, result)
    return result


def say_rates(who: str, result: Result) -> None:
    """Print the rates that `lr: auto` has chosen, and why."""
    if result.rates and is_main_process():
        say(f"{who}: learning rates {result.rates['why']}")


def retold(training: Callable[[], R]) -> R:
    """Run a training; its errors use the command line's words, and its warnings are printed at once."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", CollapseWarning)
            warnings.showwarning = partial(warned, warnings.showwarning)
            return training()
    except ValueError as error:
        message = str(error).replace("another folder", "another output").replace("fresh=True", "--fresh")
        raise UserError(message) from error


def test(model: MultiTask, task: Ready) -> Tested:
    """Measure a trained task, and store its scores for its file."""
    tested = task.test(model, task.batch)
    model[task.name].info.metrics |= named(tested)
    return tested


def size(model: MultiTask, task: Ready) -> dict[str, int]:
    """The size of a task without shared parts: numbers, and bits of masks if there are any."""
    counts = count_task(model[task.name])
    found = {"numbers": sum(counts[kind] for kind in counts.keys() - BESIDE.keys()), "bits": bits_beside(counts)}
    return found if found["bits"] else {"numbers": found["numbers"]}


def how(result: Result) -> str:
    """A training's course, in words."""
    done = {"finished": "trained", "early": "stopped early"}[result.stopped]
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    return f"{done} in {result.seconds:.0f} s on {threads}, best epoch {result.best_epoch} of {len(result.curve)}"


def is_main_process() -> bool:
    """Whether this is the first process; before Accelerate starts, its launcher's environment says so."""
    return os.environ.get("RANK", "0") == "0"

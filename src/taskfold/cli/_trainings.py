"""Training the tasks of a configuration one after another, and what that has in common with training them together."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch

from ..config import Plan, TaskPart
from ..config.run import Config, TaskConfig
from ..model import MultiTask
from ..report import record
from ..threads import cores
from ..train import CollapseWarning, Result, train_task
from ._optimisers import fitted
from ._origin import Origin
from ._output import UserError, say, warned
from ._prepare import Opened
from ._ready import Ready, Shown, Tested, say_doubts
from ._same_data import claim
from ._story import Story, points

R = TypeVar("R")


def one_by_one(plan: Config, opened: Opened, tasks: list[Ready], fresh: bool) -> Story | None:
    """Train each task by itself; in processes other than the first nothing is written."""
    model, main = opened.model, is_main_process()
    story = Story(plan, "train", opened.loaded, tasks)
    labels = record.labels_of({task.name: task.method for task in plan.tasks})
    parts = retold(lambda: fitted(plan, model))
    for number, (task, settings) in enumerate(zip(tasks, parts, strict=True), 1):
        result = train_alone(plan, model, task, settings, f"{task.name} ({number}/{len(tasks)})", fresh)
        tested = test(model, task)
        if not main:
            continue
        if not number - 1:
            Origin.of(plan, inventory=False).write(plan.output)
        shown = task.show(model)
        story.show(task.name, shown)
        story.measured(task.name, tested)
        if tested.accuracy is None:
            story.row(task.name, {**size(model, task), "seconds": result.seconds}, tested)
            story.curves[task.name] = result.curve
        else:
            story.run(_run(model, task, settings, labels[task.name], result, tested, shown))
        save_task(plan, model, task, settings)
        story.save(model)
        say(f"{task.name}: {how(result)}, {tested}")
        say_doubts({task.name: tested})
    return story if main else None


def _run(
    model: MultiTask, task: Ready, settings: TaskConfig, label: str, result: Result, tested: Tested, shown: Shown
) -> dict[str, Any]:
    """A training in a results document."""
    own = model[task.name]
    return {
        "task": task.name,
        "method": settings.method.name,
        "label": label,
        "settings": dict(own.method["settings"]),
        "seed": settings.train.seed,
        "metrics": {**named(tested), "val_accuracy": result.best["val_accuracy"]},
        "parameters": {kind: count for kind, count in own.counts().items() if count},
        "bytes": own.nbytes(),
        "seconds": result.seconds,
        "curve": points(result.curve),
        "layers": record.layer_changes(model, task.name),
        "predictions": shown.predictions,
    }


def train_alone(plan: Plan, model: MultiTask, task: Ready, settings: TaskPart, label: str, fresh: bool) -> Result:
    """Train one task by itself, or go on where that was; torch keeps the threads that its training ended with."""
    folder = plan.run_folder(settings)
    if is_main_process():
        claim(folder, [task], new=fresh or not (folder / "checkpoint.safetensors").exists())
    data = task.sets(settings.train.seed)
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
            fresh=fresh,
            **task.seams,
        )
    )
    task.settle(model)
    torch.set_num_threads(min(result.threads, cores()))
    say_rates(task.name, result)
    return result


def say_rates(who: str, result: Result) -> None:
    """What `lr: auto` has chosen, and why."""
    if result.rates and is_main_process():
        say(f"{who}: learning rates {result.rates['why']}")


def retold(training: Callable[[], R]) -> R:
    """What a training says is wrong, in the words of the command line; and at once what it warns of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", CollapseWarning)
            warnings.showwarning = partial(warned, warnings.showwarning)
            return training()
    except ValueError as error:
        message = str(error).replace("another folder", "another output").replace("fresh=True", "--fresh")
        raise UserError(message) from error


def test(model: MultiTask, task: Ready) -> Tested:
    """Measure a trained task; its file will say it too."""
    tested = task.test(model, task.batch)
    model[task.name].info.metrics |= named(tested)
    return tested


def named(tested: Tested) -> dict[str, float]:
    """What a task file and a results document say of a test."""
    main = {} if tested.accuracy is None else {"test_accuracy": tested.accuracy}
    return main | {f"{tested.split}_{name}": value for name, value in tested.metrics.items()}


def size(model: MultiTask, task: Ready) -> dict[str, int]:
    """What a task has beside what it shares."""
    return {"numbers": sum(model[task.name].counts().values())}


def save_task(plan: Plan, model: MultiTask, task: Ready, settings: TaskPart, *, standalone: bool = False) -> None:
    """The task's file, before the results that name it."""
    file = plan.task_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    model.save_task(task.name, file, standalone=standalone)


def how(result: Result) -> str:
    """How a training went, in words."""
    done = {"finished": "trained", "early": "stopped early"}[result.stopped]
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    return f"{done} in {result.seconds:.0f} s on {threads}, best epoch {result.best_epoch} of {len(result.curve)}"


def is_main_process() -> bool:
    """Before Accelerate has started, its launcher's environment says which process this is."""
    return os.environ.get("RANK", "0") == "0"

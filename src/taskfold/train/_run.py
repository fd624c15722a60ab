"""Runs a job: checks, the folder, the loop."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from ..evaluate import check_data
from ..model import MultiTask, begun
from ..tasks import digest, fingerprint, types_of
from ..threads import Threads
from ._folder import Folder
from ._job import Job
from ._lone import check_lone_rows
from ._loop import Loop
from ._processes import check_equal
from ._progress import Bar
from ._seams import (
    Collate,
    LossPerSample,
    LossPerTask,
    Measure,
    MeasurePerTask,
    Seams,
    SeamsPerTask,
    TaskSet,
    loss_alone,
)
from ._state import State
from ._statistics import training_momentum
from ._trackers import check_trackers

Sizes = dict[str, int]


def sizes_of(one: TaskSet, whose: str = "") -> Sizes:
    """The number of samples of a task.

    Raises:
        TypeError: the data are not map-style.
        ValueError: the data are empty.
    """
    data: dict[str, Dataset[Any]] = {"train": one.train, "val": one.val, "plain": one.unaugmented}
    return {what: check_data(found, f"{what}{whose}") for what, found in data.items()}


def own_seams(
    standard: Seams, objective: LossPerSample | None, measure: Measure | None, collate: Collate | None
) -> Seams:
    """The standard seams, replaced by those that the caller gives; an objective alone is also the measure."""
    if objective is not None and measure is None:
        measure = loss_alone(objective)
    return replace(
        standard,
        collate=collate or standard.collate,
        loss=objective or standard.loss,
        measure=measure or standard.measure,
        vary=standard.vary if objective is None and collate is None else None,
    )


def seams_per_task(
    objective: LossPerTask | None, measure: MeasurePerTask | None, collate: Collate | None
) -> SeamsPerTask:
    """The seams for samples that serve several tasks; only `collate` has a default.

    Raises:
        ValueError: there is no objective.
    """
    if objective is None:
        raise ValueError(
            "objective must be given for samples that serve several tasks: (model, batch, task names) → {task: [n]}"
        )
    return SeamsPerTask(collate or default_collate, objective, measure)


def run(
    job: Job,
    identity: Callable[[], Mapping[str, Any]],
    folder: str | Path | None,
    label: str,
    *,
    quiet: bool | None,
    fresh: bool,
) -> tuple[State, bool]:
    """Train, resume, or return a finished run.

    Args:
        job: the training.
        identity: returns what tells this run from others.
        folder: holds the checkpoint and the log; None: nothing is kept.
        label: the progress bar's text.
        quiet: no progress bar; None: none unless the output is a terminal.
        fresh: delete the run in the folder and start over.

    Returns:
        The final state, and whether the run was resumed.
    """
    quiet = quiet if job.accelerator.is_main_process else True
    threads = Threads.of(job.settings.threads, job.device, job.accelerator.num_processes)
    with own_randomness(job.device), job.moves.holding(), threads:
        return _run(job, opened(job, identity, folder, fresh, network_of(job.model)), threads, label, quiet)


def network_of(model: MultiTask) -> Callable[[], dict[str, Any]]:
    """A function that computes the backbone's identity once."""
    return cache(lambda: {"backbone": fingerprint(model.backbone), "types of the backbone": types_of(model.backbone)})


def opened(
    job: Job,
    identity: Callable[[], Mapping[str, Any]],
    folder: str | Path | None,
    fresh: bool,
    network: Callable[[], dict[str, Any]],
) -> Folder:
    """The folder of a run, opened once the run is known to be able to begin; arguments as for `run`."""
    who: dict[str, Any] = {}
    if job.accelerator.num_processes > 1 or folder is not None:
        who = {**identity(), **network(), **_surroundings(job)}
    check_equal(job.accelerator, "the backbone", who.get("backbone", ""))
    check_lone_rows(job)
    check_trackers(job.settings, folder)
    return Folder.open(folder, who, fresh, job.accelerator)


def _run(job: Job, folder: Folder, threads: Threads, label: str, quiet: bool | None) -> tuple[State, bool]:
    loop = Loop(job, folder, threads)
    kept = folder.load()
    if kept is not None:
        loop.load(kept)
    # Also a barrier: all processes have read the checkpoint before the first one writes the next.
    check_equal(job.accelerator, f"the checkpoint in {folder.path}", str(loop.state.step))
    try:
        if not loop.state.done:
            with (
                Bar(label, loop.plan.epochs, loop.plan.steps, quiet) as bar,
                training_momentum(job.model, job.names, job.settings.norm_momentum),
                closing(loop.steps(bar)) as steps,
            ):
                for step in steps:
                    if step is not None:
                        step.do()
    finally:
        job.model.train(False)
    job.accelerator.wait_for_everyone()
    tell_tasks(loop)
    return loop.state, kept is not None


def tell_tasks(loop: Loop) -> None:
    """Writes the results into the tasks' `info`, which their files keep."""
    for name, found in loop.state.best["tasks"].items():
        info = loop.job.moves.tasks[name].info
        info.metrics = {**info.metrics, **found, "epoch": loop.state.best_epoch}
        if loop.state.rates:
            info.metrics["lr"] = loop.state.rates["lr"]


def task_identity(job: Job, name: str, sizes: Sizes) -> dict[str, Any]:
    """The part of a run's identity that belongs to a task."""
    task = job.moves.tasks[name]
    shapes = {key: list(tensor.shape) for key, tensor in task.state_dict().items()}
    found = {"method": task.method, "transfer": task.transfer, "shapes": shapes, "samples": sizes}
    # Other tasks begin at random; a transferred one begins with learned values, which may have been learned anew.
    where = dict(begun(task) or {})
    at_first = {"begin": where.pop("begin")} if where else {}
    return found | at_first | {f"{what} at its beginning": value for what, value in where.items()}


def _surroundings(job: Job) -> dict[str, Any]:
    fixed, settings = digest(dict(job.moves.fixed)) if job.moves.fixed else None, job.settings
    resolved = {"optimizers", "phases", "uncertainty"}  # from the settings or else from tasks and methods
    return {
        "settings": settings.model_dump(mode="json", exclude={*settings.unseen(), *resolved}),
        "optimizers": {group: chosen.model_dump(mode="json") for group, chosen in job.optimisers.items()},
        "phases": [json.loads(json.dumps(asdict(phase))) for phase in job.phases],
        "shared": {key: list(leaf.shape) for key, leaf in {**job.moves.shared, **job.moves.running}.items()},
        "inventory": fixed,
        "processes": job.accelerator.num_processes,
        "device": job.device.type,
    }


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Gives the run its own global random state; the caller's is restored."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)

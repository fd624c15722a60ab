from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..factors import check_whole
from ..model import MultiTask
from ..problems import Loss, Problem
from ..refusals import RefusalError
from ..threads import Choice, Threads
from ._job import Job
from ._mixed import unmixable
from ._packs import Pack
from ._processes import start
from ._run import network_of, own_randomness
from ._seams import Collate, LossPerSample, Measure, TaskSet
from ._state import Result
from ._statistics import training_momentum
from ._train import task_job, train_task
from .settings import Settings

Jobs = dict[str, tuple[Job, Callable[[], dict[str, Any]]]]
Common = tuple[str, float | None, Choice]


class PackWarning(UserWarning):
    """Some tasks of a pack cannot share passes with others, and train one after another."""


class PackError(ValueError):
    """The trainings of some tasks in a pack have failed; the other tasks are trained.

    Attributes:
        errors: the errors, by task.
        results: the results of the other tasks.
    """

    def __init__(self, errors: Mapping[str, Exception], results: Mapping[str, Result]) -> None:
        super().__init__("; ".join(f"task {name!r}: {error}" for name, error in errors.items()))
        self.errors, self.results = dict(errors), dict(results)


@dataclass(frozen=True)
class PackTask:
    """A task's arguments for `train_pack`, each as in `train_task`.

    Attributes:
        data: training and validation data.
        settings: the task's own settings.
        loss, problem, objective, measure, collate: the loss, the measures and the batches.
    """

    data: TaskSet
    settings: Settings = field(default_factory=Settings)
    loss: Loss | None = None
    problem: Problem | None = None
    objective: LossPerSample | None = None
    measure: Measure | None = None
    collate: Collate | None = None

    @property
    def seams(self) -> dict[str, Any]:
        """The fields without data and settings."""
        names = ("loss", "problem", "objective", "measure", "collate")
        return {name: getattr(self, name) for name in names}

    @property
    def by_itself(self) -> str:
        """Why the task cannot share passes, by these arguments alone; empty: they allow it."""
        settings = self.settings
        if self.objective is not None or self.measure is not None:
            return "objective and measure ask the model themselves"
        for key in ("folds", "log_with", "workers"):
            if value := getattr(settings, key):
                return f"{key}={value!r} is of trainings that run by themselves"
        return "precision='fp16' scales the gradients of a training" if settings.precision == "fp16" else ""


def train_pack(
    model: MultiTask,
    tasks: Mapping[str, PackTask],
    *,
    rows: int = 256,
    folder: str | Path | None = None,
    file: str = "pack",
    finished: Callable[[str, Result], object] = lambda name, result: None,
    fresh: bool = False,
) -> dict[str, Result]:
    """Train private tasks side by side: the rows of many tasks share one forward and one backward pass.

    Each task is trained as `train_task` trains it: on its own data, with its own loss, optimisers, rates, epochs,
    choice of epoch, log and checkpoint. Results are those of `train_task` up to rounding, since a layer adds up the
    rows of a larger batch in another order; with `rows=1` every step passes by itself, and they are equal bit for bit.
    A killed pack resumes, and ends with the same bits.

    A task that cannot share passes trains by itself, after the others, with a warning. Causes: `objective`, `folds`,
    `workers`, `log_with`, `precision="fp16"`, parts that draw random numbers in a pass (dropout) or change with the
    training's progress, and shared factors. Tasks share passes whose settings agree in `precision`,
    `norm_momentum` and `threads`, and whose inputs have one shape. Steps of a task whose frozen part is kept
    (`cache_features`, for samples that are not augmented) pass by themselves; `cache_features="never"` lets them share.

    Args:
        model: with the tasks added; their present weights are the start.
        tasks: the tasks to train, in order.
        rows: the most samples in a pass: as many tasks train at once as their batches fit in.
        folder: holds a folder for each task, under its name, as `train_task` makes it; None: nothing is kept.
        file: the name of the file of running trainings in the folder. Processes that share a folder each
            need their own, `pack-1`, `pack-2`, ….
        finished: called with each task's name and result as soon as its weights are final.
        fresh: delete these tasks' earlier runs in the folder.

    Returns:
        The result of each training, in the order of `tasks`.

    Raises:
        PackError: trainings of some tasks have failed (`DivergedError`, say); all others are trained.
        ValueError: there are no tasks, `rows` is < 1, or there are several processes; or as for `train_task`.

    Warns:
        PackWarning: tasks cannot share passes; once for each reason.

    Example:
        >>> import torch, taskfold as tfold
        >>> from torch.utils.data import TensorDataset
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> model = tfold.MultiTask(net, tfold.LoRA(rank=2), num_features=8)
        >>> x, tasks = torch.randn(64, 4), {}
        >>> for n, name in enumerate(["first", "second", "third"]):
        ...     _ = model.add_task(name, head=2)
        ...     data = TensorDataset(x, (x[:, n] > 0).long())
        ...     tasks[name] = PackTask(TaskSet(data, data), Settings(epochs=2 + n))
        >>> results = train_pack(model, tasks)
        >>> {name: len(result.curve) for name, result in results.items()}
        {'first': 2, 'second': 3, 'third': 4}
    """
    if not tasks:
        raise ValueError("tasks is empty; give at least one task")
    check_whole("rows", rows, 1)
    accelerator = start(next(iter(tasks.values())).settings.precision)
    if accelerator.num_processes > 1:
        raise ValueError(f"a pack trains in one process, found {accelerator.num_processes}; start it by itself")
    place = None if folder is None else Path(folder)
    results: dict[str, Result] = {}
    errors: dict[str, Exception] = {}

    def done(name: str, result: Result) -> None:
        results[name] = result
        finished(name, result)

    with own_randomness(accelerator.device):
        packs, alone = _sorted(model, tasks, rows)
        for why in dict.fromkeys(alone.values()):
            names = ", ".join(repr(name) for name, one in alone.items() if one == why)
            warnings.warn(f"{names} cannot share passes with other tasks: {why}", PackWarning, stacklevel=2)
        network = network_of(model)
        for (_, value, threads), jobs in packs.items():
            every = min(tasks[name].settings.checkpoint_every for name in jobs)
            with Threads.of(threads, accelerator.device) as counted, training_momentum(model, jobs, value):
                pack = Pack(jobs, rows, place, f"{file}.safetensors", fresh, counted, network, done, every)
                try:
                    pack.run()
                finally:
                    model.train(False)
            errors |= pack.errors
    for name in alone:
        own, data = tasks[name], tasks[name].data
        more: dict[str, Any] = {"plain": data.plain, "fresh": fresh, "quiet": True, **own.seams}
        try:
            done(
                name, train_task(model, name, data.train, data.val, own.settings, folder=place and place / name, **more)
            )
        except (ValueError, RefusalError) as error:
            errors[name] = error
    if errors:
        raise PackError(errors, results)
    return {name: results[name] for name in tasks}


def _sorted(model: MultiTask, tasks: Mapping[str, PackTask], rows: int) -> tuple[dict[Common, Jobs], dict[str, str]]:
    """The jobs that can share passes, grouped by their common settings; and why other tasks cannot."""
    packs: dict[Common, Jobs] = {}
    alone = {name: why for name, task in tasks.items() if (why := task.by_itself)}
    known: dict[str, str] = {}
    for name, task in tasks.items():
        if name in alone:
            continue
        own = task.settings
        share = max(1, rows // own.batch_size)
        kept = {"cache_memory": own.cache_memory // share, "cache_disk": own.cache_disk // share}
        settings = own.model_copy(update={"checkpoint_every": math.inf, **kept})  # the pack writes the checkpoints
        job, identity = task_job(model, name, task.data, settings, **task.seams)
        kind = repr((model[name].method, model[name].head))
        if kind not in known:
            with suppress(ValueError):  # the training reports what is wrong with its data
                known[kind] = unmixable(job)
        if known.get(kind):
            alone[name] = known[kind]
        else:
            packs.setdefault((own.precision, own.norm_momentum, own.threads), {})[name] = job, identity
    return packs, alone

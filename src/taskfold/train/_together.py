from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..model import MultiTask
from ..problems import Classification, Problem
from ._belongings import belongings
from ._classification import seams_of
from ._job import Job
from ._joint_settings import JointSettings
from ._mixture import Mixture
from ._objective import Objective, PerSample, PerTask
from ._processes import start
from ._run import Sizes, own_seams, run, seams_per_task, sizes_of, task_identity
from ._seams import Collate, LossPerSample, LossPerTask, Measure, MeasurePerTask, TaskSet
from ._shaping import Shaping, check_classes, outputs_of
from ._state import JointResult


def train_together(
    model: MultiTask,
    tasks: Mapping[str, TaskSet] | Mapping[tuple[str, ...], TaskSet],
    settings: JointSettings | None = None,
    *,
    problems: Mapping[str, Problem] | None = None,
    objective: LossPerSample | LossPerTask | None = None,
    measure: Measure | MeasurePerTask | None = None,
    collate: Collate | None = None,
    folder: str | Path | None = None,
    quiet: bool | None = None,
    label: str = "",
    fresh: bool = False,
) -> JointResult:
    """Train several tasks at once, and the inventory they share: mixed batches, one forward and one backward pass.

    The training moves these tasks and what they share. A step moves nothing of a task without a sample in its
    batch: not by weight decay, not by momentum, nor its running statistics. The backbone and all other tasks keep
    their bits. All else is as in `train_task`: device, processes, folder, resuming, best weights, errors.

    Where a sample serves several tasks, one pass over the data serves them all: give the tasks as one key,
    `{("seg", "depth"): TaskSet(…)}`. The loss is Σ_t weight_t · (sum of the task's losses over the batch) / (samples in
    the batch), so that each target has the same weight, however many samples of a batch have one.

    Args:
        model: with the tasks added; their present weights are the start.
        tasks: the data of each, by name. Rows of a batch are grouped by task, in this order. Or one tuple of
            names, with the data that serve all of them.
        settings: see `JointSettings`; None: the defaults.
        problems: problems of `taskfold.problems`, by task; other tasks classify. Tasks
            with different problems are selected by the loss.
        objective: (model, batch, task names) → `[B]`, a loss for each sample; calls `model(…, task=names)`. None:
            cross-entropy, for samples of (input tensor, class index from 0). For a tuple key instead → by task `[n]`,
            the losses of those samples that have a target for it; see `LossPerTask`.
        measure: (model, batch, task names) → `{"loss": [B], "accuracy": [B], …}`, the validation measures, called for
            one task at a time in evaluation mode. None: the objective's loss alone, which needs `select_by="loss"`;
            without an objective loss and accuracy. For a tuple key → that by task; see `MeasurePerTask`.
        collate: samples → batch: tensors, nested in any way, or an object with `.to(device)`. None: inputs and
            class indices are stacked; for a tuple key torch's `default_collate`.
        folder: holds `checkpoint.safetensors` and `log.jsonl`.
        quiet: no progress bar; None: none unless the output is a terminal.
        label: the progress bar's text; default: the number of tasks.
        fresh: delete the run in the folder and start over.

    Raises:
        ValueError: a task is unknown, no parameter trains, a task that is not listed would move, data are empty or
            have no target for a task, or settings contradict each other or the tasks.
        TypeError: data are not map-style.
        ImportError: `balance` needs TorchJD, which is not installed.
        CheckpointError: the folder holds another run, or a damaged checkpoint.
        DivergedError: the loss of a task became infinite or NaN.

    Warns:
        BudgetWarning: no epoch was within the method's budget; the one least above it is kept.
        CollapseWarning: a task's loss is finite, and its training no longer learns; once per task.

    Example:
        >>> import torch, taskfold as tfold
        >>> from torch.utils.data import TensorDataset
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
        >>> model = tfold.MultiTask(net, tfold.LoRA(rank=2, sharing="shared"), num_features=8)
        >>> x = torch.randn(64, 4)
        >>> answers = {"sign": (x[:, 0] > 0).long(), "sum": (x.sum(1) > 0).long()}
        >>> for name in answers:
        ...     _ = model.add_task(name, head=2)
        >>> sets = {name: TaskSet(TensorDataset(x, y), TensorDataset(x, y)) for name, y in answers.items()}
        >>> result = train_together(model, sets, JointSettings(epochs=2))
        >>> sorted(result.tasks)
        ['sign', 'sum']
    """
    job, of_each, together = joint_job(model, tasks, settings or JointSettings(), objective, measure, collate, problems)
    state, resumed = run(
        job,
        lambda: {"tasks": {name: task_identity(job, name, of_each[name]) for name in job.names}, **together},
        folder,
        label or f"{len(job.names)} tasks",
        quiet=quiet,
        fresh=fresh,
    )
    return state.joint_result(resumed)


def joint_job(
    model: MultiTask,
    tasks: Mapping[str, TaskSet] | Mapping[tuple[str, ...], TaskSet],
    settings: JointSettings,
    objective: LossPerSample | LossPerTask | None,
    measure: Measure | MeasurePerTask | None,
    collate: Collate | None,
    problems: Mapping[str, Problem] | None = None,
) -> tuple[Job, dict[str, Sizes], dict[str, Any]]:
    """The job of `train_together`, checked; each task's number of samples; entries for the identity."""
    if not tasks:
        raise ValueError("tasks is empty; give the data of at least one task")
    data = {key if isinstance(key, tuple) else (key,): one for key, one in tasks.items()}
    names = [name for key in data for name in key]
    together = _check_keys(tasks, names, settings)
    moves = belongings(model, names)
    if together:
        check_classes(settings, names[0], None, None)
        way: Objective = PerTask(seams_per_task(objective, measure, collate), names)  # type: ignore[arg-type]
    else:
        known = {name: (problems or {}).get(name, Classification()) for name in names}
        if odd := sorted({*(problems or {})} - {*names}):
            raise ValueError(f"problems: {odd[0]!r} is none of the tasks, which are {', '.join(names)}")
        heads = {name: outputs_of(model, name) for name in names}
        for name, one in known.items():
            check_classes(settings, name, one if objective is None else None, heads[name], collate)
        shaping = Shaping.of(settings, {key[0]: one.train for key, one in data.items()}, heads)
        standard = seams_of(known, shaping)
        way = PerSample(own_seams(standard, objective, measure, collate), names)  # type: ignore[arg-type]
    sizes = {key: sizes_of(one, f" of task {', '.join(map(repr, key))}") for key, one in data.items()}
    counts = tuple(found["train"] for found in sizes.values())
    per_epoch = settings.steps_per_epoch and settings.steps_per_epoch * settings.batch_size
    mixture = Mixture.of(counts, settings.exponent_temperature, settings.cap, per_epoch)
    mixture = mixture.by_class(settings, [one.train for one in data.values()])
    accelerator = start(settings.precision)
    model.to(accelerator.device)
    job = Job.of(model, data, moves, way, mixture, settings, accelerator)
    said = {name: one.identity() for name, one in (problems or {}).items() if one != Classification()}
    together |= {"problems": said} if said else {}
    return job, {name: found for key, found in sizes.items() for name in key}, together


def _check_keys(
    tasks: Mapping[str, TaskSet] | Mapping[tuple[str, ...], TaskSet], names: Sequence[str], settings: JointSettings
) -> dict[str, Any]:
    """The identity's entry for samples that serve all tasks; empty: each data set has one task.

    Raises:
        ValueError: only some data sets serve several tasks.
    """
    tuples = [key for key in tasks if isinstance(key, tuple)]
    if not tuples:
        return {}
    if len(tasks) > 1:
        raise ValueError(
            f"tasks: {tuples[0]} must be the only key, found {len(tasks)}; join the data "
            "(torch.utils.data.ConcatDataset) and name all tasks in one key: a sample need not have a target for each"
        )
    if not names or len({*names}) != len(names):
        raise ValueError(f"tasks: {tuples[0]} must name at least one task, and each once")
    if settings.sampling != "proportional":
        raise ValueError(
            f"sampling={settings.sampling!r} chooses between the data of different tasks, and here all tasks have the "
            "same; leave it out"
        )
    return {"together": True}

"""Training several tasks together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerate import Accelerator

from ..model import MultiTask
from ._balance import aggregator
from ._belongings import Belongings, belongings
from ._classification import classification
from ._gradients import Balanced, Gradients, Plain
from ._job import Job
from ._joint_settings import JointSettings
from ._mixture import Mixture
from ._processes import start
from ._run import check_smoothing, own_seams, run, sizes_of, task_identity
from ._seams import Collate, LossPerSample, Measure, TaskSet
from ._state import JointResult


def train_together(
    model: MultiTask,
    tasks: Mapping[str, TaskSet],
    settings: JointSettings | None = None,
    *,
    objective: LossPerSample | None = None,
    measure: Measure | None = None,
    collate: Collate | None = None,
    folder: str | Path | None = None,
    quiet: bool | None = None,
    label: str = "",
    fresh: bool = False,
) -> JointResult:
    """Train several tasks at once, and the inventory they share: mixed batches, one forward and one backward pass.

    Moved is what belongs to these tasks and what they share. A step moves nothing of a task that has no sample in its
    batch: not by weight decay, not by momentum, nor its running statistics. The backbone and all other tasks keep
    their bits. Everything else is as in `train_task`: device, processes, folder, resuming, best weights, errors.

    Args:
        model: with the tasks added; their present weights are the start.
        tasks: the data of each, by name. Rows of a batch are grouped by task, in this order.
        settings: see `JointSettings`; None: its defaults.
        objective: (model, batch, task names) → `[B]`, a loss for each sample; calls `model(…, task=names)`. None:
            cross-entropy, for samples of (input tensor, class index from 0).
        measure: (model, batch, task names) → `{"loss": [B], "accuracy": [B], …}`, what validation looks at, asked for
            one task at a time in evaluation mode. None: the objective's loss alone, which needs `select_by="loss"`;
            without an objective loss and accuracy.
        collate: samples → batch: tensors, nested as one likes, or an object with `.to(device)`. None: inputs and
            class indices are stacked.
        folder: for `checkpoint.safetensors` and `log.jsonl`.
        quiet: no progress bar; None: none unless the output is a terminal.
        label: what the progress bar says; default: the number of tasks.
        fresh: delete the run in the folder and start over.

    Raises:
        ValueError: no such task, nothing can be trained, a task that is not listed would be moved, data are empty,
            or settings do not fit each other.
        TypeError: data are not map-style.
        ImportError: `balance` needs TorchJD, which is not installed.
        CheckpointError: the folder holds another run, or a damaged checkpoint.
        DivergedError: the loss of a task became infinite or NaN.

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
    settings = settings or JointSettings()
    if not tasks:
        raise ValueError("tasks is empty; give the data of at least one task")
    moves = belongings(model, list(tasks))
    check_smoothing(settings, objective)
    seams = own_seams(classification(smoothing=settings.label_smoothing), objective, measure, collate)
    weights = _weights(settings, list(tasks))
    sizes = {name: sizes_of(one, f" of task {name!r}") for name, one in tasks.items()}
    counts = tuple(found["train"] for found in sizes.values())
    per_epoch = settings.steps_per_epoch and settings.steps_per_epoch * settings.batch_size
    mixture = Mixture.of(counts, settings.exponent_temperature, settings.cap, per_epoch)
    accelerator = start(settings.precision)
    model.to(accelerator.device)
    gradients = _gradients(settings, moves, weights, accelerator)
    job = Job(model, dict(tasks), moves, seams, gradients, mixture, weights, settings, accelerator)
    state, resumed = run(
        job,
        lambda: {"tasks": {name: task_identity(job, name, sizes[name]) for name in tasks}},
        folder,
        label or f"{len(tasks)} tasks",
        quiet=quiet,
        fresh=fresh,
    )
    return state.joint_result(resumed)


def _weights(settings: JointSettings, names: Sequence[str]) -> list[float]:
    for name in settings.task_weights:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"task_weights names {name!r}, which is not among the tasks{hint}")
    return [settings.task_weights.get(name, 1.0) for name in names]


def _gradients(
    settings: JointSettings, moves: Belongings, weights: Sequence[float], accelerator: Accelerator
) -> Gradients:
    if settings.balance is None:
        return Plain.of(moves.parameters, weights, accelerator)
    if not moves.shared:
        raise ValueError(
            f"balance={settings.balance!r} needs something that the tasks share, and they share nothing; leave it out, "
            "or use a method with shared factors"
        )
    return Balanced.of(aggregator(settings.balance), list(moves.shared.values()), moves.own, weights, accelerator)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..layers import inventory_of, statistics_of
from ..model import MultiTask
from ..problems import Classification, Loss, Problem, problem_for
from ._belongings import Belongings, belongings
from ._classification import check_whole, seams_of
from ._folds import cross_validated
from ._job import Job
from ._joint_settings import JointSettings
from ._mixture import Mixture
from ._objective import PerSample
from ._processes import start
from ._run import own_seams, run, sizes_of, task_identity
from ._seams import Collate, LossPerSample, Measure, TaskSet
from ._shaping import Shaping, check_classes, outputs_of, shapes
from ._state import Result
from .settings import Settings


def train_task(
    model: MultiTask,
    name: str,
    train: Dataset[Any],
    val: Dataset[Any],
    settings: Settings | None = None,
    *,
    folder: str | Path | None = None,
    loss: Loss | None = None,
    problem: Problem | None = None,
    plain: Dataset[Any] | None = None,
    objective: LossPerSample | None = None,
    measure: Measure | None = None,
    collate: Collate | None = None,
    quiet: bool | None = None,
    label: str = "",
    fresh: bool = False,
) -> Result:
    """Train one task; other tasks and the backbone keep their bits.

    The model moves to Accelerate's device (a GPU if there is one) and ends in evaluation mode, holding the weights of
    the epoch that validation prefers; after an error or an interruption, the best so far. Launched in several
    processes (`torchrun`, `accelerate launch`; on CPUs with `ACCELERATE_USE_CPU=true`), each calls this alike.

    The same seed gives the same bits, even after an interruption, on a CPU of one kind, with the same number of threads
    and processes.

    A transferred task (`MultiTask.transfer_task`) does not move its inventory. Any other task with an inventory moves
    it too, and is refused if another task of the model uses that inventory.

    Args:
        model: with the task added; its present weights are the start.
        name: the task.
        train, val: map-style, `data[i]` → (input tensor, target), or samples for `objective` and `collate`;
            `set_epoch(epoch)` is called if it exists. A target is a class index from 0, or the `problem`'s. Selection
            and early stopping use `val` only.
        settings: see `Settings`; None: the defaults.
        folder: holds `checkpoint.safetensors` and `log.jsonl`; created if missing. If it holds a run of the same
            settings, task and data, that run resumes, or its result is returned if it had finished.
        loss: (outputs, targets) → mean over a batch, or `[B]`; None: that of the problem. Torch's losses of numbers
            (`mse_loss`, …) and of labels (`binary_cross_entropy_with_logits`) imply the problem.
        problem: the meaning of outputs, of `taskfold.problems`, with its loss and measures; None:
            classification, unless the loss is one of numbers or of labels.
        plain: the training inputs without augmentation, to re-estimate BatchNorm statistics on; None: `train`.
        objective, measure, collate: for data of any kind, as in `train_together`. Not with `settings.folds`, which
            takes `train` and `val` together.
        quiet: no progress bar; None: none unless the output is a terminal.
        label: the progress bar's text; default: the task's name.
        fresh: delete the run in the folder and start over.

    Raises:
        ValueError: the task is unknown, has no trainable parameter or shares its inventory with other tasks, data are
            empty, or settings contradict each other.
        TypeError: data are not map-style.
        CheckpointError: the folder holds another run, or a damaged checkpoint.
        DivergedError: the loss became infinite or NaN.

    Warns:
        BudgetWarning: no epoch was within the method's budget; the one least above it is kept.
        CollapseWarning: the loss is finite, and the training no longer learns; once per training.
    """
    settings = settings or Settings()
    one = TaskSet(train, val, plain)
    seams: dict[str, Any] = {"objective": objective, "measure": measure, "collate": collate}
    job, identity = task_job(model, name, one, settings, loss=loss, problem=problem, **seams)
    if settings.folds is not None:

        def again(data: TaskSet, settings: Settings, folder: Path | None, more: str) -> Result:
            return train_task(
                model,
                name,
                data.train,
                data.val,
                settings,
                folder=folder,
                loss=loss,
                problem=problem,
                plain=data.plain,
                quiet=quiet,
                label=f"{label or name}{more}",
                fresh=fresh,
            )

        return cross_validated(model, name, one, settings, job.moves, Path(folder) if folder else None, again)
    state, resumed = run(job, identity, folder, label or name, quiet=quiet, fresh=fresh)
    return state.result(resumed)


def task_job(
    model: MultiTask,
    name: str,
    one: TaskSet,
    settings: Settings,
    *,
    loss: Loss | None = None,
    problem: Problem | None = None,
    objective: LossPerSample | None = None,
    measure: Measure | None = None,
    collate: Collate | None = None,
) -> tuple[Job, Callable[[], dict[str, Any]]]:
    """The job of `train_task`, checked; and the identity that a resumed run must match."""
    if isinstance(settings, JointSettings) and settings.weighting != "fixed":
        raise ValueError(
            f"weighting={settings.weighting!r} is of train_together, which takes one task too; leave it out here"
        )
    moves = _alone(model, name)
    if sum(one is not None for one in (loss, objective, problem)) > 1:
        raise ValueError("loss, problem and objective each say what to minimise; give one of them")
    chosen, outputs = {name: problem or problem_for(loss)}, outputs_of(model, name)
    check_classes(settings, name, chosen[name] if objective is None else None, outputs, collate)
    if objective is None:
        check_whole(chosen[name], name, {"train": one.train, "val": one.val})
    shaping = Shaping.of(settings, {name: one.train}, {name: outputs})
    seams = own_seams(seams_of(chosen, shaping), objective, measure, collate)
    sizes = sizes_of(one)
    accelerator = start(settings.precision)
    model.to(accelerator.device)
    per_epoch = settings.steps_per_epoch and settings.steps_per_epoch * settings.batch_size
    mixture = Mixture.of((sizes["train"],), total=per_epoch).by_class(settings, [one.train])
    job = Job.of(model, {(name,): one}, moves, PerSample(seams, [name]), mixture, settings, accelerator)
    return job, lambda: {"task": name, **task_identity(job, name, sizes), **_said(chosen[name])}


def _said(problem: Problem) -> dict[str, Any]:
    """The problem's entry in the identity; none for plain classes."""
    own = type(problem) is Classification and callable(problem.loss)
    return {} if own or shapes(problem) else {"problem": problem.identity()}


def _alone(model: MultiTask, name: str) -> Belongings:
    """The tensors that training this task alone moves.

    Raises:
        ValueError: other tasks use its inventory.
    """
    still = statistics_of(model[name])
    shared = {key: leaf for key, leaf in inventory_of(model[name]).items() if leaf.requires_grad or key in still}
    others = [other for other in model.tasks if other != name and shared.keys() & inventory_of(model[other]).keys()]
    if others and model[name].transfer is None:
        raise ValueError(
            f"task {name!r} rests on shared factors ({next(iter(shared))}, …); training it alone would move task "
            f"{', '.join(map(repr, others[:3]))}{', …' if others[3:] else ''}, which rests on them too: train them "
            "together (train_together), or, if it mixes an inventory, add it by model.transfer_task(…)"
        )
    return belongings(model, [name])

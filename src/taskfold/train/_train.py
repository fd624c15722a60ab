"""Training one task: checks before anything moves, then the loop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from ..evaluate import Loss
from ..evaluate._run import check_data
from ..layers import inventory_of
from ..model import MultiTask
from ..tasks import fingerprint
from ._folder import Folder
from ._job import Job
from ._loop import Loop
from ._processes import check_equal, start
from ._progress import Bar
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
    plain: Dataset[Any] | None = None,
    quiet: bool | None = None,
    label: str = "",
    fresh: bool = False,
) -> Result:
    """Train what belongs to one task, and nothing else: other tasks and the backbone keep their bits.

    The model moves to Accelerate's device (a GPU if there is one) and ends in evaluation mode, holding the weights of
    the epoch that validation prefers; after an error or an interruption, the best so far. Launched in several
    processes (`torchrun`, `accelerate launch`; on CPUs with `ACCELERATE_USE_CPU=true`), each calls this alike.

    The same seed gives the same bits, interrupted and continued or not, on a CPU of one kind, with as many threads
    and processes.

    Args:
        model: with the task added; its present weights are the start.
        name: the task.
        train, val: map-style, `data[i]` → (input tensor, class index from 0); `set_epoch(epoch)` is called if there.
            Selection and early stopping look at `val` only.
        settings: see `Settings`; None: its defaults.
        folder: for `checkpoint.safetensors` and `log.jsonl`; made if need be. If it holds a run of the same settings,
            task and data, that run goes on where it was, or is returned if it had finished.
        loss: (outputs, targets) → mean over a batch; None: cross-entropy.
        plain: the training inputs without augmentation, to re-estimate BatchNorm statistics on; None: `train`.
        quiet: no progress bar; None: none unless the output is a terminal.
        label: what the progress bar says; default: the task's name.
        fresh: delete the run in the folder and start over.

    Raises:
        ValueError: no such task, nothing of it can be trained, it rests on what others rest on, data are empty, or
            settings do not fit each other.
        TypeError: data are not map-style.
        CheckpointError: the folder holds another run, or a damaged checkpoint.
        DivergedError: the loss became infinite or NaN.
    """
    settings = settings or Settings()
    groups = trainable(model, name)
    if loss is not None and settings.label_smoothing:
        raise ValueError(
            f"label_smoothing={settings.label_smoothing} has no meaning for a loss of your own; set it to 0, or leave "
            "loss out"
        )
    plain = train if plain is None else plain
    sizes = {what: check_data(data, what) for what, data in (("train", train), ("val", val), ("plain", plain))}
    accelerator = start(settings.precision)
    if sizes["val"] < accelerator.num_processes:
        raise ValueError(
            f"val has {sizes['val']} samples for {accelerator.num_processes} processes; give each at least one"
        )
    model.to(accelerator.device)
    smooth = partial(F.cross_entropy, label_smoothing=settings.label_smoothing)
    losses = (smooth, F.cross_entropy) if loss is None else (loss, loss)
    job = Job(model, name, groups, train, val, plain, sizes, *losses, settings, accelerator)
    several = accelerator.num_processes > 1
    identity = _identity(job) if several or folder is not None else {}
    check_equal(accelerator, "the backbone", identity.get("backbone", ""))
    quiet = quiet if accelerator.is_main_process else True
    with _own_randomness(accelerator.device):
        return _run(job, Folder.open(folder, identity, fresh, accelerator), label or name, quiet)


def _run(job: Job, folder: Folder, label: str, quiet: bool | None) -> Result:
    loop = Loop(job, folder)
    kept = folder.load()
    if kept is not None:
        loop.load(kept)
    # Also a barrier: nobody reads the checkpoint once the first process writes the next.
    check_equal(job.accelerator, f"the checkpoint in {folder.path}", str(loop.state.step))
    try:
        if not loop.state.done:
            with Bar(label, job.settings.epochs, loop.steps, quiet) as bar:
                loop.run(bar)
    finally:
        job.model.train(False)
    job.accelerator.wait_for_everyone()
    state = loop.state
    job.task.info.metrics = {**job.task.info.metrics, **state.best, "epoch": state.best_epoch}
    return state.result(resumed=kept is not None)


def trainable(model: MultiTask, name: str) -> dict[str, list[nn.Parameter]]:
    """The parameters that training the task may move, by kind.

    Raises:
        ValueError: there are none, or moving them would move other tasks.
    """
    task = model[name]
    if shared := inventory_of(task):
        raise ValueError(
            f"task {name!r} rests on shared factors ({next(iter(shared))}, …); training it alone would move the other "
            "tasks that rest on them: use sharing='private'"
        )
    mine = {id(tensor) for tensor in [*task.parameters(), *task.buffers()]}
    for owner, module in {"the backbone": model.backbone, **{f"task {o!r}": model[o] for o in model.tasks}}.items():
        if module is not task and any(id(t) in mine for t in [*module.parameters(), *module.buffers()]):
            raise ValueError(
                f"task {name!r} holds tensors that {owner} holds too (the same head module?); training it would move "
                f"{owner}: give the task a copy (copy.deepcopy)"
            )
    groups = {kind: [p for p in own if p.requires_grad] for kind, own in task.groups().items()}
    groups = {kind: own for kind, own in groups.items() if own}
    if not groups:
        raise ValueError(f"task {name!r} has no trainable parameter; give it a head, or a method that adapts something")
    if unknown := groups.keys() - Settings.model_fields.keys():
        raise ValueError(
            f"task {name!r} has parameters of the kind {min(unknown)!r}, for which Settings has no optimiser"
        )
    return groups


def _identity(job: Job) -> dict[str, Any]:
    """What must be the same for a run to go on exactly."""
    return {
        "task": job.name,
        "method": job.task.method,
        "shapes": {key: list(tensor.shape) for key, tensor in job.task.state_dict().items()},
        "settings": job.settings.model_dump(mode="json", exclude=set(Settings.unseen())),
        "samples": job.sizes,
        "backbone": fingerprint(job.model.backbone),
        "processes": job.accelerator.num_processes,
        "device": job.device.type,
    }


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """The global generators are the run's own, and the caller's are given back."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)

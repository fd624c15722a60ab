"""Measures which tasks help one another, in a short joint training that is undone."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ..layers import inventory_of
from ..model import MultiTask
from ..problems import Problem
from ..threads import Threads
from ._affinities import Affinity, affinity_over
from ._affinity_settings import AffinitySettings
from ._job import Job
from ._joint_settings import JointSettings
from ._lone import check_lone_rows
from ._optimisers import Optimisers
from ._prepare import Preparation
from ._probe import Probe
from ._run import own_randomness
from ._seams import Collate, LossPerSample, LossPerTask, TaskSet
from ._steps import Steps
from ._together import joint_job


def affinity(
    model: MultiTask,
    tasks: Mapping[str, TaskSet] | Mapping[tuple[str, ...], TaskSet],
    settings: JointSettings | None = None,
    measuring: AffinitySettings | None = None,
    *,
    problems: Mapping[str, Problem] | None = None,
    objective: LossPerSample | LossPerTask | None = None,
    collate: Collate | None = None,
) -> Affinity:
    """Measure which tasks help and which hurt one another through their shared factors.

    Trains the tasks together for a few steps, as `train_together` would. Every `every` steps it computes each task's
    gradient on the shared factors, and the effect of a step on it on every task's loss on other samples: to first
    order (Fifty et al. 2021, "Efficiently Identifying Task Groupings for Multi-Task Learning", whose lookahead
    is measured too), and the cosine of the two gradients (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning").
    Afterwards weights, running statistics and random numbers are as before, to the bit.

    Args:
        model: with the tasks added; their present weights are the start.
        tasks, problems, objective, collate: as for `train_together`. Validation data are not read.
        settings: the joint training's, whose length is in `measuring`; None: the defaults.
        measuring: how to measure; None: the defaults of `AffinitySettings`.

    Returns:
        The gains, which also propose groups.

    Raises:
        ValueError: there is one task, or fewer than two share factors; or as for `train_together`.

    Example:
        >>> import torch, taskfold as tfold
        >>> from torch.utils.data import TensorDataset
        >>> _ = torch.manual_seed(0)
        >>> model = tfold.MultiTask(torch.nn.Linear(4, 1), tfold.LoRA(rank=1, sharing="shared"))
        >>> x, sets = torch.randn(64, 4), {}
        >>> for name, sign in {"up": 1, "also up": 1, "down": -1}.items():
        ...     _ = model.add_task(name)
        ...     data = TensorDataset(x, sign * x[:, 0])
        ...     sets[name] = TaskSet(data, data)
        >>> def objective(model, batch, tasks):
        ...     return (model(batch[0], task=list(tasks))[:, 0] - batch[1]).square()
        >>> seams = {"objective": objective, "collate": torch.utils.data.default_collate}
        >>> found = affinity(model, sets, None, AffinitySettings(steps=20, every=5), **seams)
        >>> found.groups()
        [['up', 'also up'], ['down']]
    """
    start = time.monotonic()
    settings, measuring = settings or JointSettings(), measuring or AffinitySettings()
    _check(tasks)
    # The schedule of a training of this length, without validations in between.
    short = settings.model_copy(update={"max_steps": measuring.steps})
    job, _, _ = joint_job(model, tasks, short, objective, None, collate, problems)
    _check_shared(job)
    if measuring.groups is not None and measuring.groups > len(job.names):
        raise ValueError(f"groups={measuring.groups} must be at most the number of tasks, {len(job.names)}")
    probe = Probe(job, measuring.samples, measuring.lookahead)
    training = model.training
    with own_randomness(job.device), job.moves.holding():
        before = job.moves.snapshot()
        try:
            check_lone_rows(job)
            _walk(job, probe, measuring)
        finally:
            job.moves.restore(before)
            for tensor in job.moves.optimised.values():
                for leaf in tensor:
                    leaf.grad = None
            model.train(training)
    if len(probe.losses) < 2:
        raise ValueError(
            f"steps={measuring.steps}: {len(probe.losses)} measurements were made, as phases train nothing that is "
            "shared before that; raise steps"
        )
    more = {"by": measuring.by, "count": measuring.groups, "steps": measuring.steps}
    more |= {"measurements": len(probe.losses), "seconds": time.monotonic() - start}
    return affinity_over(job.names, probe.losses, probe.seen, **more)


def _walk(job: Job, probe: Probe, measuring: AffinitySettings) -> None:
    preparation = Preparation(job)
    for number in list(preparation.batches):
        preparation.run(number)
    preparation.clear()
    with Threads.of(job.settings.threads, job.device, job.accelerator.num_processes) as threads:
        steps = Steps(job, threads)
        plan = job.plan(len(steps.batches))
        optimisers = Optimisers(job.moves.optimised, job.optimisers, job.settings, job.accelerator, plan.steps)
        done = 0
        for epoch in range(plan.epochs):
            for one in plan.passes(epoch):
                with steps.of(one, 0, done, plan.steps, optimisers) as stream:
                    for step in stream:
                        step.do()
                        done += 1
                        if done % measuring.every == 0:
                            probe.measure()


def _check(tasks: Mapping[str, TaskSet] | Mapping[tuple[str, ...], TaskSet]) -> None:
    names = [name for key in tasks for name in (key if isinstance(key, tuple) else (key,))]
    if len(names) < 2:
        raise ValueError(f"tasks: affinity is between tasks, found {', '.join(map(repr, names)) or 'none'}; name two")


def _check_shared(job: Job) -> None:
    if job.accelerator.num_processes > 1:
        raise ValueError(
            f"affinity is measured by one process, found {job.accelerator.num_processes}; measure it first, and write "
            "the groups down"
        )
    if job.settings.precision == "fp16":
        raise ValueError("affinity does not go with precision='fp16', whose gradients are scaled; use 'bf16' or 'no'")
    shared = job.moves.shared.keys()
    stand = [name for name, task in job.moves.tasks.items() if shared & inventory_of(task).keys()]
    if len(stand) < 2:
        alone = [f"{name!r} ({job.methods[name].name})" for name in job.names if name not in stand]
        raise ValueError(
            f"affinity is between tasks that share something that trains, and {', '.join(alone)} share nothing; choose "
            "a method that shares (poly, tensorpoly-i, hard-sharing) or sharing: shared"
        )

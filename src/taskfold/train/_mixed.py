"""Steps of several trainings in one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ..layers import parts_of
from ..model import MultiTask, Outputs
from ..refusals import RefusalError
from ._classification import Labelled
from ._gradients import Plain, added
from ._job import Job
from ._lone import passing
from ._objective import Rows
from ._steps import Step


def do_all(steps: Sequence[Step]) -> dict[Step, Exception]:
    """Do a step of each training; batches of one form share a pass, each other batch has its own.

    Returns:
        The errors of steps that were not done.
    """
    groups: dict[Hashable, list[Step]] = {}
    for number, step in enumerate(steps):
        groups.setdefault(_form(step) or number, []).append(step)
    errors: dict[Step, Exception] = {}
    for group in groups.values():
        if not group[0].of.job.model.training:
            group[0].of.job.model.train(True)
        if len(group) > 1:
            errors |= _together(group)
            continue
        try:
            group[0].do()
        except (ValueError, RefusalError) as error:
            errors[group[0]] = error
    return errors


def _together(steps: Sequence[Step]) -> dict[Step, Exception]:
    made, job, errors = steps[0].of, steps[0].of.job, dict[Step, Exception]()
    sizes = [len(step.owners) for step in steps]
    with made.threads.piece(sum(sizes)):
        batches = [step.begin() for step in steps]
        names = [name for step, size in zip(steps, sizes, strict=True) for name in step.of.job.names * size]
        found: dict[Step, Rows] = {}
        with job.accelerator.autocast():
            outputs = _asked(job.model, [batch.inputs for batch in batches], names)
            for step, batch in zip(steps, batches, strict=True):
                try:
                    found[step] = step.rows(_Said(outputs.of(step.of.job.names[0])), batch)
                except (ValueError, RefusalError) as error:
                    errors[step] = error
        made.threads.halfway(sum(sizes))
        losses = [_loss(step, rows) for step, rows in found.items()]
        if (whole := added([one for one in losses if one is not None])) is not None:
            job.accelerator.backward(whole)
        for step in found:
            step.optimisers.step(step.number)
    return errors


def _asked(model: MultiTask, inputs: Sequence[Any], names: Sequence[str]) -> Outputs:
    """The tasks' outputs for several batches, from one pass."""
    if isinstance(inputs[0], Mapping):
        made = model(**{key: torch.cat([one[key] for one in inputs]) for key in inputs[0]}, task=names)
    else:
        made = model(torch.cat([*inputs]), task=names)
    return made if isinstance(made, Outputs) else Outputs.of_rows(names, [*made])


def _loss(step: Step, rows: Rows) -> Tensor | None:
    assert isinstance(step.regime.gradients, Plain)
    return step.regime.gradients.loss(step.losses(rows))


class _Said:
    """A stand-in for the model that returns a task's finished outputs to its loss."""

    def __init__(self, outputs: Tensor) -> None:
        self.outputs = outputs

    def __call__(self, *args: object, **kwargs: object) -> Tensor:
        return self.outputs


def _form(step: Step) -> Hashable | None:
    """The form of a batch; batches of one form share a pass. None: this batch needs its own.

    A batch with cached features needs its own, since it skips the network's frozen part.
    """
    features, batch = step.of.features, step.inputs
    if (features is not None and True not in features.off) or not isinstance(batch, Labelled):
        return None
    inputs = batch.inputs if isinstance(batch.inputs, Mapping) else {"": batch.inputs}
    if not all(isinstance(one, Tensor) for one in inputs.values()):
        return None
    return tuple((key, one.shape[1:], one.dtype) for key, one in inputs.items())


def unmixable(job: Job) -> str:
    """The reason why a task's steps can't share passes with other tasks'; empty: they can."""
    [name] = job.names
    if job.moves.shared or job.moves.running:
        return "it trains factors or statistics that tasks share"
    if any(part.anneals for _, part in parts_of(job.moves.tasks[name])):
        return "what it does at layers depends on how far its training is"
    [one] = job.sets.values()
    samples = [one.unaugmented[number % job.mixture.sizes[0]] for number in range(2)]
    batch = send_to_device(job.objective.collate(samples), job.device)
    before = _drawn(job.device)
    with passing(job):
        job.objective.losses(job.model, batch, [0, 0], [0])
    if not torch.equal(before, _drawn(job.device)):
        return "its passes draw random numbers (dropout, say), which a mixed batch would draw otherwise"
    return ""


def _drawn(device: torch.device) -> Tensor:
    """The state of torch's random number generator on the device."""
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return torch.cat([torch.get_rng_state(), *own])

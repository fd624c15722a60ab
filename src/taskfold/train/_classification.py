"""Batches of inputs with one target each, their losses, and their measures in validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import Dataset, TensorDataset, default_collate

from ..model import MultiTask
from ..problems import Problem, TargetError, first_not_finite
from ._seams import ALL, OUTPUTS, TARGETS, Seams
from ._shaping import Shaping, shapes


@dataclass(frozen=True)
class Labelled:
    """A batch of inputs and targets.

    Attributes:
        inputs: `[B, …]`; or a mapping, for networks called with keywords.
        targets: `[B]` or `[B, …]`; a list of B tensors if their shapes or types differ.
        known: the targets on the CPU, readable without waiting for a GPU.
        mixed: for mixed images, the other image's target and the own image's share, `[B]` each.
    """

    inputs: Any
    targets: Tensor | list[Tensor]
    known: Tensor | list[Tensor]
    mixed: tuple[Tensor, Tensor] | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> Labelled:
        """The batch on a device."""
        inputs, targets = tree_map(lambda one: one.to(device, non_blocking=non_blocking), (self.inputs, self.targets))
        return replace(self, inputs=inputs, targets=targets)

    def pin_memory(self) -> Labelled:
        """The batch in pinned memory."""
        inputs, targets = tree_map(lambda one: one.pin_memory(), (self.inputs, self.targets))
        return replace(self, inputs=inputs, targets=targets)


def label_collate(samples: list[Any]) -> Labelled:
    """A batch from `(input tensor, target)` samples; tasks of one batch may have targets of different shapes."""
    each = [torch.as_tensor(target) for _, target in samples]
    each = [target.float() if target.dtype == torch.float64 else target for target in each]
    alike = len({(target.shape, target.dtype) for target in each}) == 1
    targets = torch.stack(each) if alike else each
    return Labelled(default_collate([inputs for inputs, _ in samples]), targets, targets)


def seams_of(problems: Mapping[str, Problem], shaping: Shaping | None = None) -> Seams:
    """Loss and measures of each task's problem; `shaping` changes the cross-entropy of classes in training only."""
    shaping = shaping or Shaping()
    vary = partial(_vary, shaping) if shaping.mixes else None
    scores = {name: one.scores_of for name, one in problems.items()}
    known = {name: frozenset({*one.select_by, *one.metric_names}) for name, one in problems.items()}
    return Seams(label_collate, partial(_losses, problems, shaping), partial(_measure, problems), vary, scores, known)


def _vary(shaping: Shaping, batch: Labelled, tasks: Sequence[str]) -> Labelled:
    """Mixes images with others of their task.

    Raises:
        ValueError: the inputs are not images, or the targets not class indices.
    """
    if not isinstance(batch.inputs, Tensor) or not isinstance(batch.targets, Tensor):
        raise ValueError("mixup and cutmix mix images of classes, found other inputs or targets; set both to 0")
    inputs, others, shares = batch.inputs.clone(), batch.targets.clone(), batch.inputs.new_ones(len(tasks))
    for name in dict.fromkeys(tasks):
        rows = torch.tensor([row for row, owner in enumerate(tasks) if owner == name], device=inputs.device)
        inputs[rows], shares[rows] = shaping.mixed(batch.inputs[rows])
        others[rows] = batch.targets[rows.roll(1)]
    return replace(batch, inputs=inputs, mixed=(others, shares))


def check_whole(problem: Problem, name: str, data: Mapping[str, Dataset[Any]]) -> None:
    """Checks targets that form one tensor before training begins; others are checked batch by batch.

    Raises:
        TargetError: a target is not finite.
    """
    for what, one in data.items():
        if not isinstance(one, TensorDataset) or len(one.tensors) != 2:
            continue
        targets = one.tensors[1]
        if (row := first_not_finite(targets)) is not None:
            raise TargetError(
                f"task {name!r}, problem {problem.kind!r}: target {row} of {what} is {targets[row].tolist()}; targets "
                "must be finite numbers: take such samples out"
            )


def _losses(
    problems: Mapping[str, Problem], shaping: Shaping, model: MultiTask, batch: Labelled, tasks: Sequence[str]
) -> Tensor:
    def losses(name: str, outputs: Tensor, targets: Tensor) -> Tensor:
        if shaping.acts and shapes(problems[name]):
            return shaping.losses(name, outputs, targets)
        return problems[name].losses_of(outputs, targets)

    def of_rows(name: str, rows: list[int], outputs: Tensor, targets: Tensor) -> Tensor:
        own = losses(name, outputs, targets)
        if batch.mixed is None:
            return own
        others, share = (one[rows] for one in batch.mixed)
        return share * own + (1 - share) * losses(name, outputs, others)

    found = _outputs(problems, model, batch, tasks)
    return _assembled([(rows, of_rows(name, rows, outputs, targets)) for name, rows, outputs, targets in found])


def _measure(
    problems: Mapping[str, Problem], model: MultiTask, batch: Labelled, tasks: Sequence[str]
) -> Mapping[str, Tensor]:
    found = [
        (rows, {"loss": problem.losses_of(outputs, targets), **measures, **_classes(problem, outputs, targets)})
        for name, rows, outputs, targets in _outputs(problems, model, batch, tasks)
        for problem in [problems[name]]
        for measures in [problem.measures(outputs, targets)]
    ]
    return {key: _assembled([(rows, one[key]) for rows, one in found]) for key in found[0][1]}


def _classes(problem: Problem, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    every = dict(zip(ALL, (outputs, targets), strict=True))
    return every | ({OUTPUTS: outputs, TARGETS: targets} if problem.of_classes else {})


def _outputs(
    problems: Mapping[str, Problem], model: MultiTask, batch: Labelled, tasks: Sequence[str]
) -> Iterator[tuple[str, list[int], Tensor, Tensor]]:
    """By task: its rows, their outputs `[b, …]` in at least float32, and their targets; one forward pass for all."""
    distinct = dict.fromkeys(tasks)
    asked = list(tasks) if len(distinct) > 1 else tasks[0]
    named = isinstance(batch.inputs, Mapping)
    made = model(**batch.inputs, task=asked) if named else model(batch.inputs, task=asked)
    for name in distinct:
        rows = [row for row, owner in enumerate(tasks) if owner == name]
        outputs = made if len(distinct) == 1 else torch.stack([made[row] for row in rows])
        known, targets = (
            one if len(distinct) == 1 and isinstance(one, Tensor) else torch.stack([one[row] for row in rows])
            for one in (batch.known, batch.targets)
        )
        problems[name].check_rows(outputs, known, name)
        yield name, rows, outputs.to(torch.promote_types(outputs.dtype, torch.float32)), targets


def _assembled(parts: list[tuple[list[int], Tensor]]) -> Tensor:
    """A tensor `[B]` from pairs of rows and values."""
    order = [row for rows, _ in parts for row in rows]
    together = torch.cat([values for _, values in parts])
    if order == sorted(order):
        return together
    return together[torch.tensor(order, device=together.device).argsort()]

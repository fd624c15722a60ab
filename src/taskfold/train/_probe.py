"""A measurement of affinity: the effect of a step on each task's gradient on the losses of all tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from ._data import Apart, Joined, Keyed
from ._job import Job
from ._seeds import mixed, reseed

DECAY = 0.9
"""Decay of the mean square of gradients, from one measurement to the next."""
TINY = 1e-8


class Probe:
    """Measures affinity between the steps of a training, and moves nothing.

    A step for a task is its part, one of T, of a joint step by the optimiser of the leaf's group on the task's
    gradient, without momentum: the learning rate over T times the gradient, divided for all but SGD by the root
    of the gradients' mean square over the tasks, as Adam does.

    Args:
        job: the training.
        samples: samples of each task for its step, and as many others for its loss; at most half of its data.
        lookahead: also take each step and evaluate the losses.

    Attributes:
        losses: `[T]` for each measurement; NaN if no sample had a target.
        seen: by measure, `[T, T]` for each measurement; row i is a step for task i.
    """

    def __init__(self, job: Job, samples: int, lookahead: bool) -> None:
        self.job, self.samples, self.lookahead = job, samples, lookahead
        group_of = {id(leaf): group for group, own in job.moves.groups.items() for leaf in own}
        chosen = {key: job.optimisers[group_of[id(leaf)]] for key, leaf in job.moves.shared.items()}
        self.rates = {key: one.lr / len(job.names) for key, one in chosen.items()}
        self.plain = {key for key, one in chosen.items() if one.optimizer == "sgd"}
        joined = Joined([one.train for one in job.sets.values()])
        self.offsets, self.data = joined.offsets.tolist(), Keyed(joined, job.settings.seed)
        self.collate = Apart(job.objective.collate)
        self.places = {number: place for place, numbers in enumerate(job.members) for number in numbers}
        self.squares: dict[str, Tensor] = {}
        self.weights: dict[str, float] = {}
        self.losses: list[Tensor] = []
        self.seen: dict[str, list[Tensor]] = {"linear": [], "lookahead": [], "cosine": []}

    def measure(self) -> None:
        """Measure once with the present weights; does nothing if no shared parameter trains in this pass."""
        leaves = {key: leaf for key, leaf in self.job.moves.shared.items() if leaf.requires_grad}
        if not leaves:
            return
        numbers = range(len(self.job.names))
        with self._unmoved():
            draws = [self._draw(number) for number in numbers]
            gradients = [self._gradient(number, draws[number][0], leaves)[1] for number in numbers]
            self._remember(gradients, leaves)
            steps = torch.stack([self._step(gradient, leaves) for gradient in gradients])
            raw = torch.stack([_flat(gradient) for gradient in gradients])
            linear, cosine, losses = [], [], []
            for number in numbers:
                loss, gradient = self._gradient(number, draws[number][1], leaves)
                theirs = _flat(gradient)
                size = (raw.norm(dim=1) * theirs.norm()).clamp_min(torch.finfo(raw.dtype).tiny)
                known = torch.where(loss.isfinite(), 1.0, torch.nan)
                linear.append(steps @ theirs * known)
                cosine.append(raw @ theirs / size * known)
                losses.append(loss)
            self.losses.append(torch.stack(losses).double().cpu())
            self._keep("linear", torch.stack(linear, 1))
            self._keep("cosine", torch.stack(cosine, 1))
            if self.lookahead:
                rows = [self._look(step, [pair[1] for pair in draws], leaves) for step in steps]
                self._keep("lookahead", self.losses[-1] - torch.stack(rows).double().cpu())

    def _keep(self, measure: str, found: Tensor) -> None:
        self.seen[measure].append(found.double().cpu())

    @contextmanager
    def _unmoved(self) -> Iterator[None]:
        """Restores buffers; each training step seeds its own random numbers."""
        held = [(buffer, buffer.clone()) for buffer in self.job.moves.buffers()]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in held:
                    buffer.copy_(before)

    def _draw(self, number: int) -> tuple[Any, Any]:
        """Two batches of a task's data without a common sample, as (owners, inputs); a single sample is in both."""
        place = self.places[number]
        first, last = self.offsets[place : place + 2]
        turn, total = len(self.losses), last - first
        generator = torch.Generator().manual_seed(mixed(self.job.settings.seed, "affinity", place, turn))
        order = (first + torch.randperm(total, generator=generator)).tolist()
        half = min(self.samples, max(1, total // 2))
        return self._batch(order[:half], turn), self._batch(order[-half:], turn)

    def _batch(self, indices: Sequence[int], turn: int) -> Any:
        owners, inputs = self.collate(self.data.__getitems__([(turn, index) for index in indices]))
        return owners, send_to_device(inputs, self.job.device)

    def _loss(self, number: int, batch: Any) -> Tensor:
        """The mean loss `[]` over samples with a target; NaN if there are none."""
        owners, inputs = batch
        reseed(self.job.settings.seed, "affinity", number, len(self.losses))
        with self.job.accelerator.autocast():
            values = self.job.objective.losses(self.job.model, inputs, owners, [number]).values
        return values.mean() if len(values) else torch.full((), torch.nan, device=self.job.device)

    def _gradient(self, number: int, batch: Any, leaves: dict[str, nn.Parameter]) -> tuple[Tensor, dict[str, Tensor]]:
        """A task's loss, and its gradient for the shared parameters."""
        loss = self._loss(number, batch)
        if not loss.requires_grad or not loss.isfinite():
            return loss.detach(), {key: torch.zeros_like(leaf) for key, leaf in leaves.items()}
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        pairs = zip(leaves.items(), found, strict=True)
        return loss.detach(), {key: torch.zeros_like(leaf) if g is None else g for (key, leaf), g in pairs}

    def _remember(self, gradients: Sequence[dict[str, Tensor]], leaves: dict[str, nn.Parameter]) -> None:
        for key in leaves.keys() - self.plain:
            square = torch.stack([gradient[key] for gradient in gradients]).square().mean(0)
            before, weight = self.squares.get(key, torch.zeros_like(square)), self.weights.get(key, 0.0)
            self.squares[key] = DECAY * before + (1 - DECAY) * square
            self.weights[key] = DECAY * weight + 1 - DECAY

    def _step(self, gradient: dict[str, Tensor], leaves: dict[str, nn.Parameter]) -> Tensor:
        """The decrease of the flattened leaves by a step."""
        scaled = {
            key: self.rates[key]
            * (g if key in self.plain else g / ((self.squares[key] / self.weights[key]).sqrt() + TINY))
            for key, g in gradient.items()
        }
        return _flat({key: scaled[key] for key in leaves})

    @torch.no_grad()
    def _look(self, step: Tensor, batches: Sequence[Any], leaves: dict[str, nn.Parameter]) -> Tensor:
        """The losses `[T]` after a step, which is then undone."""
        held = [leaf.clone() for leaf in leaves.values()]
        parts = step.split([leaf.numel() for leaf in leaves.values()])
        try:
            for leaf, part in zip(leaves.values(), parts, strict=True):
                leaf.sub_(part.view_as(leaf))
            return torch.stack([self._loss(number, batch) for number, batch in enumerate(batches)])
        finally:
            for leaf, before in zip(leaves.values(), held, strict=True):
                leaf.copy_(before)


def _flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])

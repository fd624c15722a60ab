"""Training's objective for detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...model import MultiTask
from ._batch import InstanceBatch
from ._halves import DetectorHead
from ._matching import f_score


@dataclass(frozen=True)
class InstanceObjective:
    """A loss for each image: the sum of the detector's losses for this image by itself. Training's `LossPerSample`.

    By itself: torchvision takes each loss over the sampled regions of a whole batch, so that an image with many
    objects weighs more; here all images have the same weight. Tasks with a `DetectorHead` process their images in
    one pass of the backbone; a whole detector (a task without a head) processes one image at a time.

    Args:
        score: the least score of detections in `measure`, 0 to 1.
        overlap: the least IoU at which a detection matches an object, 0 to 1; see `f_score`.
        seed: the seed of the regions that `measure` samples for its loss.

    Raises:
        ValueError: a number is out of its range.
    """

    score: float = 0.5
    overlap: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("score", self.score), ("overlap", self.overlap)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be 0 to 1, found {value!r}")

    def __call__(self, model: MultiTask, batch: InstanceBatch, tasks: Sequence[str]) -> Tensor:
        """The losses `[B]`, with gradients.

        Args:
            model: in training mode.
            batch: on the model's device.
            tasks: one name per image.

        Raises:
            ValueError: gradients are enabled, and the model is in evaluation mode.
        """
        return _by_task(tasks, lambda name, rows: _losses(model, batch.rows(rows), name))

    def measure(self, model: MultiTask, batch: InstanceBatch, tasks: Sequence[str]) -> Mapping[str, Tensor]:
        """`loss`, and `accuracy`: the F-score of the image's detections. `[B]` each. Training's `Measure`.

        The loss samples the same regions at every call. The model does not change.
        """

        def loss(name: str, rows: list[int]) -> Tensor:
            # A whole detector has losses in training mode only, in which its normalisation uses the batch's
            # statistics and moves its own: these are restored.
            kept = [(buffer, buffer.clone()) for buffer in model[name].buffers()]
            whole, before = not isinstance(model[name].head, DetectorHead), model.training
            device = batch.images[0].device
            with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
                torch.manual_seed(self.seed)
                try:
                    if whole:
                        model.train(True)
                    return _losses(model, batch.rows(rows), name)
                finally:
                    if whole:
                        model.train(before)
                        for buffer, value in kept:
                            buffer.copy_(value)

        def accuracy(name: str, rows: list[int]) -> Tensor:
            part = batch.rows(rows)
            with torch.no_grad():
                found = model(list(part.images), task=name)
            scores = [f_score(*pair, self.score, self.overlap) for pair in zip(found, part.targets, strict=True)]
            return torch.tensor(scores, device=part.images[0].device)

        if model.training:
            raise ValueError("detections are measured in evaluation mode: call model.eval() first")
        return {"loss": _by_task(tasks, loss), "accuracy": _by_task(tasks, accuracy)}


def _by_task(tasks: Sequence[str], value: Callable[[str, list[int]], Tensor]) -> Tensor:
    """The values of each task's rows, in the order of the rows."""
    rows = {name: [row for row, other in enumerate(tasks) if other == name] for name in dict.fromkeys(tasks)}
    found = torch.cat([value(name, chosen) for name, chosen in rows.items()])
    order = torch.tensor([row for chosen in rows.values() for row in chosen], device=found.device)
    return found[order.argsort()]


def _losses(model: MultiTask, batch: InstanceBatch, name: str) -> Tensor:
    """The losses `[B]` of one task."""
    images, targets = list(batch.images), list(batch.targets)
    if isinstance(model[name].head, DetectorHead):
        return _sum(model(images, targets, task=name, losses=True))
    every = [model([image], [target], task=name) for image, target in zip(images, targets, strict=True)]
    if all(isinstance(one, Mapping) for one in every):
        return torch.stack([_sum(one) for one in every])
    if torch.is_grad_enabled():
        raise ValueError(f"task {name!r}: a detector gives losses in training mode only: call model.train() first")
    # Running statistics are being re-estimated, for which the forward pass suffices.
    return images[0].new_full((len(images),), torch.nan)


def _sum(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum(0)

"""Training's objective for a protocol with one task for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._protocol import Protocol
from ._sample import DenseBatch


@dataclass(frozen=True)
class DenseObjective:
    """A loss for each sample of a batch, each of one task: training's `LossPerSample`.

    Args:
        protocol: has kinds and weights.
    """

    protocol: Protocol

    def __call__(self, model: nn.Module, batch: DenseBatch, tasks: Sequence[str]) -> Tensor:
        """The losses `[B]`.

        Args:
            model: a `MultiTask` whose heads return maps of the images' size.
            batch: on the model's device.
            tasks: one name per sample; samples of one task go through the network together.
        """
        rows = {task: [row for row, name in enumerate(tasks) if name == task] for task in dict.fromkeys(tasks)}
        parts = [
            self.protocol.loss(task, model(part.images, task=task), part)
            for task, chosen in rows.items()
            for part in [batch.rows(chosen)]
        ]
        order = torch.tensor([row for chosen in rows.values() for row in chosen], device=batch.images.device)
        return torch.cat(parts)[order.argsort()]

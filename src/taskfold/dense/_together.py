"""Training's objective for a protocol whose images serve all tasks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._protocol import Protocol
from ._sample import DenseBatch


@dataclass(frozen=True)
class DenseTogether:
    """The losses of a batch for all tasks that its images have targets for: training's `LossPerTask`.

    Args:
        protocol: has kinds and weights.
    """

    protocol: Protocol

    def __call__(self, model: nn.Module, batch: DenseBatch, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Weighted losses `[n]` by task, of the `n` images with a target for it; tasks without targets are left out.

        Args:
            model: a `MultiTask` whose heads return maps of the images' size; tasks whose networks are the same run
                in one pass.
            batch: on the model's device.
            tasks: the wanted tasks.

        Raises:
            ValueError: the protocol lacks a task.
        """
        if unknown := sorted({*tasks} - self.protocol.kinds.keys()):
            raise ValueError(f"tasks: {unknown} are not among the protocol's {sorted(self.protocol.kinds)}")
        known = torch.stack([batch.present[task] for task in tasks]).tolist()  # one wait for a GPU
        rows = {task: [row for row, there in enumerate(one) if there] for task, one in zip(tasks, known, strict=True)}
        present = [task for task in tasks if rows[task]]
        if not present:
            return {}
        outputs = model(batch.images, task=present, broadcast=True)
        losses = self.protocol.losses(outputs, batch)
        return {task: losses[task] if len(rows[task]) == len(batch) else losses[task][rows[task]] for task in present}

    def measure(self, model: nn.Module, batch: DenseBatch, tasks: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        """The losses as training's `MeasurePerTask`, for `select_by="loss"`."""
        return {task: {"loss": losses} for task, losses in self(model, batch, tasks).items()}

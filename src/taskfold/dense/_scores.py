from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ._protocol import Protocol
from ._sample import DenseBatch


class DenseScores:
    """The scores of all tasks of a protocol, accumulated batch by batch.

    Args:
        protocol: has the tasks.
        device: the device of the outputs.
    """

    def __init__(self, protocol: Protocol, device: torch.device | str = "cpu") -> None:
        self._kinds = protocol.kinds
        self._metrics = {task: kind.metric().to(device) for task, kind in protocol.kinds.items()}

    def update(self, outputs: Mapping[str, Tensor], batch: DenseBatch) -> None:
        """Add a network's outputs, for some tasks or all.

        Raises:
            ValueError: an output holds NaN or infinite numbers.
        """
        for task, output in outputs.items():
            if not output.isfinite().all():
                raise ValueError(f"{task}: the output holds NaN or infinite numbers: the network has diverged")
            self._metrics[task].update(self._kinds[task].predict(output.detach()), batch.targets[task])

    def result(self) -> dict[str, dict[str, float]]:
        """Task → score → value, for the tasks with outputs; over all processes.

        Raises:
            ValueError: there were no outputs, or a task had no valid pixel.
        """
        counted = {task: metric for task, metric in self._metrics.items() if metric.update_called}
        if not counted:
            raise ValueError("nothing was counted; a data set must hold at least one sample")
        return {task: metric.compute() for task, metric in counted.items()}

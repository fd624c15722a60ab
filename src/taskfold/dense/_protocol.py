"""Protocols: the dense tasks of a benchmark, their weights in training, and their compared scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ._sample import DenseBatch, DenseCollate
from .kinds import Depth, Edges, Kind, Normals, Segmentation
from .metrics import delta_m

Scores = Mapping[str, Mapping[str, float]]
"""Task → score → value."""


@dataclass(frozen=True)
class Protocol:
    """The dense tasks of a benchmark.

    Args:
        kinds: the kinds by task.
        weights: the weights of the tasks' losses, > 0; other tasks have 1.

    Raises:
        ValueError: there are no tasks, a weight is for an unknown task, or not positive and finite.

    Example:
        >>> nyuv2(classes=13).channels
        {'segmentation': 13, 'depth': 1, 'normals': 3}
    """

    kinds: Mapping[str, Kind]
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("kinds must name at least one task, found none")
        if unknown := sorted(set(self.weights) - set(self.kinds)):
            raise ValueError(f"weights: {unknown} are not among the tasks {sorted(self.kinds)}")
        if odd := {task: weight for task, weight in self.weights.items() if not 0 < weight < float("inf")}:
            raise ValueError(f"weights must be positive and finite, found {odd}; to leave a task out, use only()")

    @property
    def channels(self) -> dict[str, int]:
        """The network's channels for each task."""
        return {task: kind.channels for task, kind in self.kinds.items()}

    @property
    def collate(self) -> DenseCollate:
        return DenseCollate(self.kinds)

    def only(self, tasks: Sequence[str]) -> Protocol:
        """The protocol with some of the tasks.

        Raises:
            ValueError: a task is unknown.
        """
        if unknown := sorted(set(tasks) - set(self.kinds)):
            raise ValueError(f"tasks: {unknown} are not among {sorted(self.kinds)}")
        weights = {task: self.weights[task] for task in tasks if task in self.weights}
        return Protocol({task: self.kinds[task] for task in tasks}, weights)

    def loss(self, task: str, output: Tensor, batch: DenseBatch) -> Tensor:
        """The weighted loss of each sample in one task, `[B]`, 0 without gradient if it has no target.

        Args:
            task: the task's name.
            output: `[B, channels, H, W]`, from the network.
            batch: with that task's targets.

        Raises:
            ValueError: the output has another shape.
        """
        kind, target = self.kinds[task], batch.targets[task]
        expected = (len(batch), kind.channels, *target.shape[2:])
        if tuple(output.shape) != expected:
            raise ValueError(f"{task}: the output must be {list(expected)}, found {list(output.shape)}")
        return self.weights.get(task, 1.0) * kind.loss(output, target)

    def losses(self, outputs: Mapping[str, Tensor], batch: DenseBatch) -> dict[str, Tensor]:
        """`loss` of every task with an output."""
        return {task: self.loss(task, output, batch) for task, output in outputs.items()}

    def delta_m(self, multi: Scores, single: Scores) -> float:
        """The gain over single-task networks in %, by the main score of each task.

        Args:
            multi, single: results of `DenseScores.result`.
        """
        main = {task: kind.main for task, kind in self.kinds.items()}
        return delta_m(
            {task: scores[main[task]] for task, scores in multi.items()},
            {task: scores[main[task]] for task, scores in single.items()},
            {task: self.kinds[task].higher_is_better[main[task]] for task in multi},
        )


def nyud(classes: int = 40) -> Protocol:
    """NYUD-MT: cross-entropy ×1, depth L1 ×1, normals L1 between unit vectors ×10, edges BCE ×50 (edges weigh 0.95)."""
    kinds = {
        "segmentation": Segmentation(classes),
        "depth": Depth(),
        "normals": Normals(stretch=False),
        "edges": Edges(),
    }
    return Protocol(kinds, {"normals": 10.0, "edges": 50.0})


def nyuv2(classes: int = 13) -> Protocol:
    """NYUv2: cross-entropy, depth L1, normals 1 − cos, all ×1."""
    normals = Normals(error="cosine", stretch=False)
    return Protocol({"segmentation": Segmentation(classes), "depth": Depth(), "normals": normals})

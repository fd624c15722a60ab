from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ..factors import check_whole
from ..kinds import Patterns
from ..layers import Composition, Norms, SparseUpdates, Statistics, choose_by_fisher
from ..tasks import Task
from ._base import Method

__all__ = ["FishMask"]


@dataclass(frozen=True)
class FishMask(Method):
    """Sparse updates: the k numbers of the whole network with the largest Fisher information move, and no others.

    Sung, Nair and Raffel, "Training Neural Networks with Fixed Sparse Masks", section 3: before the first step, a pass
    over training data, sample by sample, adds up (∂L/∂θ)² for every parameter of the network, and chooses the largest.
    A task trains a vector of k values, which start at 0, so that a new task is the backbone exactly. A task that has
    not trained has its places spread evenly over the network.

    Args:
        share: k over the numbers of the network, rounded down; 0 < share ≤ 1.
        samples: the most samples of the pass; None: all training data.
        targets: shell patterns over layer names; `!pattern` leaves layers out.
        statistics: the statistics of BatchNorm: `backbone`, `adapted` or `own`; see `FTN`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the share is less than one number; when it
            trains, the pass has no data, or its gradients are all zero or not finite.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8)), tfold.FishMask(0.1))
        >>> {name: count for name, count in model.add_task("sums").counts().items() if count}  # of 208
        {'factors': 20, 'indices': 20}
    """

    share: float = 0.002
    samples: int | None = 1024
    targets: Patterns = "*"
    statistics: Statistics = "backbone"
    name: ClassVar[str] = "fishmask"
    prepare_batch: ClassVar[int | None] = 1

    @property
    def parts(self) -> tuple[SparseUpdates]:
        if self.samples is not None:
            check_whole("samples", self.samples, 1, also=", or none for all")
        return (SparseUpdates(self.targets, self.share),)

    def compose(self, network: nn.Module) -> Composition:
        norms = () if self.statistics == "backbone" else (Norms(False, self.statistics),)
        return Composition((*self.parts, *norms))

    def prepare(self, task: Task, batches: Iterable[Any], score: Callable[[Any], Tensor]) -> None:
        """Choose the task's places by Fisher information; a task with trained values keeps its places.

        Raises:
            ValueError: there is no data, or gradients are all zero or not finite.
        """
        choose_by_fisher(task, batches, score, self.samples)

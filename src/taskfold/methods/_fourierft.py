from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..factors import Fourier, Rank
from ..routing import Private
from ._layerwise import Layerwise

__all__ = ["FourierFT"]


@dataclass(frozen=True)
class FourierFT(Layerwise):
    """Updates by a few of their frequencies: ΔW = scale · Re(ifft2(F)) with n trained entries of F.

    Gao et al., "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", section 3. Entries start at zero, so
    that a new task is the backbone. A task computes the whole weight of its layers.

    Args:
        count: n ≥ 1 for each weight, or `{layer pattern: n}`.
        scale: the paper's α.
        seed: the seed of the entries' places.
        layers, targets, norm: see `Layerwise`.

    Raises:
        ValueError: a setting is out of its range; when a task is added, a weight with fewer than n numbers.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> model = tfold.MultiTask(nn.Sequential(nn.Linear(64, 32)), tfold.FourierFT(count=100))
        >>> model.add_task("flowers").counts()["factors"]
        100
    """

    count: Rank = 1000
    scale: float = 150.0
    seed: int = 777
    name: ClassVar[str] = "fourierft"

    def update(self) -> tuple[Fourier, Private]:
        return Fourier(self.count, self.scale, self.seed), Private()

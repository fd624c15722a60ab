from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..layers import MainConvolutions, Reparameterisations
from ._residual import Residual

__all__ = ["RCM"]


@dataclass(frozen=True)
class RCM(Residual):
    """Reparameterised convolutions: W_t · (W_s ∗ x), a task's own 1×1 convolution behind every frozen one.

    Kanakis et al., "Reparameterizing Convolutions for Incremental Multi-Task Learning without Task Interference",
    sections 3.2 to 3.4. W_t starts at the identity, and W_s is the backbone's, so that a new task is the backbone.

    Args:
        targets, shortcuts, norm, statistics: as for `Residual`: convolutions of shortcuts are a task's own copies.
        nff: normalised feature fusion: rows of W_t are g · v / ‖v‖, where g starts at 1; C_out numbers more.

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no convolutions.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1))
        >>> model = tfold.MultiTask(net, tfold.RCM(norm=False, nff=True))
        >>> model.add_task("flowers").counts()["factors"]  # 8² + 16², and as many g as channels
        344
    """

    nff: bool = False
    name: ClassVar[str] = "rcm"

    @property
    def recipe(self) -> Reparameterisations:
        return Reparameterisations(MainConvolutions(self.targets, shortcuts=self.shortcuts == "adapted"), self.nff)

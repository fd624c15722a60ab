from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..layers import MainConvolutions, SeriesAdapters, SeriesInit
from ._residual import Residual

__all__ = ["SeriesAdapter"]


@dataclass(frozen=True)
class SeriesAdapter(Residual):
    """Series residual adapters: y + A_t · BN_t(y) behind every convolution y = W ∗ x.

    Rebuffi, Bilen and Vedaldi, "Learning Multiple Visual Domains with Residual Adapters", section 3.3. A is a 1×1
    convolution without bias. BN_t trains on the statistics of the batch and evaluates with their moving average, which
    the task keeps; then the layer folds exactly: W' = (I + A diag(γ/σ)) W, and a bias.

    Args:
        targets, shortcuts, norm, statistics: as for `Residual`: convolutions of shortcuts are a task's own copies, as
            in the tables of RCM and FTN.
        init: `zero` starts at the backbone; `authors` draws A from N(0, √(2 / C_out)).

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no convolutions.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1))
        >>> model = tfold.MultiTask(net, tfold.SeriesAdapter(norm=False))
        >>> model.add_task("flowers").counts()["factors"]  # 8² + 16², and γ and β
        368
    """

    init: SeriesInit = "zero"
    name: ClassVar[str] = "series-adapter"

    @property
    def recipe(self) -> SeriesAdapters:
        return SeriesAdapters(MainConvolutions(self.targets, shortcuts=self.shortcuts == "adapted"), self.init)

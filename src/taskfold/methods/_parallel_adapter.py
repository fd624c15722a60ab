from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..factors import Centre, PointInit
from ..layers import MainConvolutions, Update
from ._residual import Residual

__all__ = ["ParallelAdapter"]


@dataclass(frozen=True)
class ParallelAdapter(Residual):
    """Parallel residual adapters: a 1×1 convolution beside every convolution, W_t ∗ x = W ∗ x + A_t ∗ x.

    Rebuffi, Bilen and Vedaldi, "Efficient Parametrization of Multi-Domain Deep Neural Networks", section 3.2. A is at
    the centre of the kernel, so that a task folds exactly. Where the 1×1 convolution differs from the centre
    (even kernels, other paddings than dilation · (k − 1) / 2, transposed convolutions), the layer is refused by name.

    Args:
        targets, shortcuts, norm, statistics: as for `Residual`: convolutions of shortcuts are a task's own copies, as
            in the tables of RCM and FTN.
        init: `zero` starts at the backbone; `authors` draws A from N(0, √(2 / C_out)).

    Raises:
        ValueError: a setting is out of its range; when a task is added, the network has no convolutions.
        TypeError: when a task is added, a convolution has another geometry.

    Example:
        >>> from torch import nn
        >>> import taskfold as tfold
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1))
        >>> model = tfold.MultiTask(net, tfold.ParallelAdapter(norm=False))
        >>> model.add_task("flowers").counts()["factors"]  # 3 · 8 + 8 · 16
        152
    """

    init: PointInit = "zero"
    name: ClassVar[str] = "parallel-adapter"

    @property
    def recipe(self) -> Update:
        return Update(
            Centre(self.init), MainConvolutions(self.targets, shortcuts=self.shortcuts == "adapted", centred=True)
        )

"""A matrix at the centre of a kernel: a 1×1 convolution beside a larger one, as one weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from ._base import Factorisation, Modes
from ._leaf import Leaf

PointInit = Literal["zero", "authors"]


@dataclass(frozen=True)
class Centre(Factorisation):
    """ΔW[o, i, c] = A[o, i] at the centre c of the kernel, and 0 elsewhere.

    It is a 1×1 convolution with the layer's stride where the padding is dilation · (k − 1) / 2.

    Args:
        init: `zero`: the start is the layer itself; `authors`: N(0, √(2 / C_out)), as in the code of Rebuffi et al.

    Raises:
        ValueError: `init` is unknown.

    Example:
        >>> from torch import ones
        >>> Centre().materialise({"point": ones(1, 1)}, Modes((1,), (1,), (3,))).tolist()
        [[[0.0, 1.0, 0.0]]]
    """

    init: PointInit = "zero"

    def __post_init__(self) -> None:
        if self.init not in get_args(PointInit):
            raise ValueError(f"init={self.init!r} is not known; choose one of {', '.join(get_args(PointInit))}")

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        out, inp, *kernel = modes.shape
        if any(size % 2 == 0 for size in kernel):
            sizes = " × ".join(map(str, kernel))
            raise ValueError(f"a kernel of {sizes} has no centre; leave the layer out with targets")
        start = nn.init.zeros_ if self.init == "zero" else partial(nn.init.normal_, std=math.sqrt(2 / out))
        return {"point": Leaf((out, inp), ("out", "inp"), start)}

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        point, sides = leaves["point"], [size // 2 for size in reversed(modes.kernel) for _ in range(2)]
        return F.pad(point.reshape(*point.shape, *(1 for _ in modes.kernel)), sides)

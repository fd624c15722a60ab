"""ExpandNets (Guo, Alvarez and Salzmann, 2020): one linear layer as three in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor

from ._base import Modes
from ._expansion import EXPANDED, Expansion
from ._init import kaiming
from ._leaf import Leaf
from ._numbers import check_number


@dataclass(frozen=True)
class LinearExpansion(Expansion):
    """K = last · middle · first: 1×1 to e·I channels, k×k to e·O channels, 1×1 back to O; no non-linearity between.

    Three convolutions without bias are one, so the product is made first and one convolution run: values and gradients
    are those of the three, whatever stride, padding and dilation. Section 3.1 of the paper; the start is the layer's
    own weight (the outer two are random isometries, and the middle one makes the product right).

    Args:
        rate: e ≥ 1; channels are rounded up.

    Raises:
        ValueError: the rate is below 1; a convolution has groups, whose channels 1×1 convolutions would mix.

    Example:
        >>> modes = Modes(out=(64,), inp=(32,), kernel=(3, 3))
        >>> {name: leaf.shape for name, leaf in LinearExpansion(rate=2).leaves(modes).items()}
        {'first': (64, 32), 'middle': (128, 64, 3, 3), 'last': (64, 128)}
    """

    rate: float = 4.0

    def __post_init__(self) -> None:
        check_number("rate", self.rate, "≥ 1", lambda rate: rate >= 1)

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        if modes.groups > 1:
            raise ValueError(
                f"a convolution of {modes.groups} groups cannot be expanded by 1×1 convolutions, which mix them; leave "
                "it out with targets=('*', '!<its name>')"
            )
        out, inp, *kernel = modes.shape
        wide, deep = ceil(self.rate * out), ceil(self.rate * inp)
        return {
            "first": Leaf((deep, inp), ("wide", "inp"), kaiming, EXPANDED),
            "middle": Leaf((wide, deep, *kernel), ("wide", "wide", *("kernel" for _ in kernel)), kaiming, EXPANDED),
            "last": Leaf((out, wide), ("out", "wide"), kaiming, EXPANDED),
        }

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        first, middle, last = leaves["first"], leaves["middle"], leaves["last"]
        size = prod(modes.kernel)
        # The smaller outer product first: e·O × e·I × k² numbers are many.
        flat = middle.flatten(middle.dim() - len(modes.kernel) - 1)
        rows = (last @ flat).unflatten(-1, (-1, size))  # [*, O, e·I, k²]
        made = (rows.mT @ first.unsqueeze(-3)).mT
        return made.reshape(*made.shape[:-1], *modes.kernel) if modes.kernel else made.squeeze(-1)

    def begin(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        shapes = {name: leaf.shape for name, leaf in self.leaves(modes).items()}
        first, last = _isometry(*shapes["first"], like=weight), _isometry(*shapes["last"][::-1], like=weight).mT
        middle = torch.einsum("ow,oi...,di->wd...", last, weight, first)
        return {"first": first, "middle": middle, "last": last}


def _isometry(rows: int, columns: int, like: Tensor) -> Tensor:
    """Orthonormal columns, drawn at random."""
    return torch.nn.init.orthogonal_(torch.empty(rows, columns, dtype=like.dtype, device=like.device))

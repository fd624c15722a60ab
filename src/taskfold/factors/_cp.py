"""CP (canonical polyadic): a weight as a sum of R outer products, one vector per mode.

FTN (Garg et al.), equation 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ._base import TERMS, Bottleneck, Modes, khatri_rao
from ._init import Init, starts
from ._leaf import Leaf
from ._ranked import Ranked, orthogonal


@dataclass(frozen=True)
class CP(Ranked):
    """ΔW[o, i, a, b] = (α/R) Σ_r out[r, o] · inp[r, i] · kernel[r, a, b], with R (O + I + k²) numbers.

    Where a side has several modes (attention heads × head size) each mode has its own vectors.

    Args:
        rank: R.
        alpha: scale α/R; None: 1.
        init: `zero` (the output factor is zero: exact start, still with gradient), `xavier` or `normal` (N(0, 0.05)).

    Example:
        >>> modes = Modes(out=(64,), inp=(32,), kernel=(3, 3))
        >>> {name: leaf.shape for name, leaf in CP(rank=4).leaves(modes).items()}
        {'out0': (4, 64), 'inp0': (4, 32), 'kernel': (4, 3, 3)}
    """

    init: Init = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        starts(self.init, silent="")

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        start = starts(self.init, silent="out0")
        sizes: dict[str, tuple[int, ...]] = {f"out{n}": (size,) for n, size in enumerate(modes.out)}
        sizes |= {f"inp{n}": (size,) for n, size in enumerate(modes.inp)}
        if modes.kernel:
            sizes["kernel"] = modes.kernel
        return {
            name: Leaf((self.size, *size), ("term", *(name for _ in size)), start(name)) for name, size in sizes.items()
        }

    def bottleneck(self, leaves: Mapping[str, Tensor], modes: Modes) -> Bottleneck:
        up, down = leaves["out0"], leaves["inp0"]
        for n in range(1, len(modes.out)):
            up = khatri_rao(up, leaves[f"out{n}"])
        for n in range(1, len(modes.inp)):
            down = khatri_rao(down, leaves[f"inp{n}"])
        up = up if self.alpha is None else up * self.scale
        if TERMS in leaves:
            up = up * leaves[TERMS].unsqueeze(-1)
        return Bottleneck.aligned(up.mT, down, leaves.get("kernel"), kernel=len(modes.kernel))

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        return self.bottleneck(leaves, modes).dense()

    def outputs(self, leaves: Mapping[str, Tensor]) -> Tensor:
        return leaves["out0"]

    def aligned(self, leaves: Mapping[str, Tensor], modes: Modes) -> dict[str, Tensor]:
        if len(modes.out) > 1 or len(modes.inp) > 1 or prod(modes.kernel) > 1:
            return {}  # a tensor has no singular value decomposition
        inputs = leaves["inp0"]
        kernel = leaves.get("kernel")
        found = {} if kernel is None else {"kernel": torch.ones_like(kernel)}
        out, inp = orthogonal(leaves["out0"], inputs if kernel is None else inputs * kernel.flatten(1))
        return {"out0": out, "inp0": inp, **found}

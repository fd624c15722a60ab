"""Low rank: a weight as the product of two thin matrices. LoRA (Hu et al. 2021), equation 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ._base import TERMS, Bottleneck, Modes
from ._init import Init, kaiming, starts
from ._leaf import Leaf
from ._ranked import Ranked, orthogonal


@dataclass(frozen=True)
class LowRank(Ranked):
    """ΔW = (α/r) up · down. On a convolution `down` is k×k to r channels and `up` is 1×1.

    Args:
        rank: r.
        alpha: scale α/r; None: 1.
        init: `zero` (LoRA's: up is zero, down random), `xavier` or `normal` (N(0, 0.05)) for both.

    Example:
        >>> modes = Modes(out=(64,), inp=(32,), kernel=(3, 3))
        >>> {name: leaf.shape for name, leaf in LowRank(rank=4).leaves(modes).items()}
        {'up': (64, 4), 'down': (4, 32, 3, 3)}
    """

    init: Init = "zero"

    def __post_init__(self) -> None:
        super().__post_init__()
        starts(self.init, silent="")

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        start = starts(self.init, silent="up", others=kaiming)
        out, inp, *kernel = modes.shape
        return {
            "up": Leaf((out, self.size), ("out", "term"), start("up")),
            "down": Leaf((self.size, inp, *kernel), ("term", "inp", *("kernel" for _ in kernel)), start("down")),
        }

    def bottleneck(self, leaves: Mapping[str, Tensor], modes: Modes) -> Bottleneck:
        up = leaves["up"]
        if TERMS in leaves:
            up = up * leaves[TERMS].unsqueeze(-2)
        return Bottleneck.aligned(
            up if self.scale == 1.0 else up * self.scale, leaves["down"], kernel=len(modes.kernel)
        )

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        return self.bottleneck(leaves, modes).dense()

    def outputs(self, leaves: Mapping[str, Tensor]) -> Tensor:
        return leaves["up"].mT

    def aligned(self, leaves: Mapping[str, Tensor], modes: Modes) -> dict[str, Tensor]:
        up, down = orthogonal(leaves["up"].T, leaves["down"].flatten(1))
        return {"up": up.T, "down": down.reshape(leaves["down"].shape)}

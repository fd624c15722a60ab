"""A weight by a few of its frequencies: FourierFT (Gao et al. 2024), section 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, Self

import torch
from torch import Tensor

from ._base import Factorisation, Modes
from ._draws import LAST_SEED
from ._init import zeros
from ._leaf import Leaf
from ._numbers import check_number, check_whole
from ._ranked import Rank, check_rank, rank_at


@dataclass(frozen=True)
class Fourier(Factorisation):
    """ΔW = scale · Re(ifft2(F)), where F `[O, I]` is zero except for n entries, at places drawn from a seed.

    Places are those of PEFT: the first n of `torch.randperm(O · I)`. A convolution's kernel is folded into its inputs.

    Args:
        count: n ≥ 1, at most the weight's numbers; or `{layer pattern: n}`.
        scale: the factor on ΔW.
        seed: the seed of the places.

    Raises:
        ValueError: a setting is out of its range; a weight has fewer than n numbers.

    Example:
        >>> {name: leaf.shape for name, leaf in Fourier(count=20).leaves(Modes((8,), (6,))).items()}
        {'spectrum': (20,)}
    """

    count: Rank = 1000
    scale: float = 150.0
    seed: int = 777
    basis_words: ClassVar[str] = "places of frequencies"

    def __post_init__(self) -> None:
        check_rank(self.count, "count")
        check_number("scale", self.scale, "other than 0", lambda scale: scale != 0)
        check_whole("seed", self.seed, 0, LAST_SEED)

    def at(self, layer: str) -> Self | None:
        count = rank_at(self.count, layer, "count")
        return replace(self, count=count) if count else None

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        assert isinstance(self.count, int)
        if self.count > prod(modes.shape):
            raise ValueError(
                f"count={self.count} frequencies are more than the weight's {prod(modes.shape)} numbers; choose fewer, "
                "count={pattern: number} by layer (0: none), or leave the layer out with targets"
            )
        return {"spectrum": Leaf((self.count,), ("place",), zeros)}

    def basis(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(self.seed)
        return {"places": torch.randperm(prod(modes.shape), generator=draw)[: self.count].clone()}  # type: ignore[misc]

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        given = leaves["spectrum"]
        spectrum = given.to(torch.promote_types(given.dtype, torch.float32))  # FFT does not run in half precision
        out, *inside = modes.shape
        dense = spectrum.new_zeros(*spectrum.shape[:-1], out * prod(inside))
        dense = dense.scatter(-1, leaves["places"].expand_as(spectrum), spectrum).unflatten(-1, (out, -1))
        return (torch.fft.ifft2(dense).real * self.scale).unflatten(-1, inside).to(given.dtype)

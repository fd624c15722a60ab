"""Updates on the singular vectors of a weight. SVFT (Lingam et al. 2024), section 3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ._base import Factorisation, Modes
from ._draws import LAST_SEED, permutation
from ._init import gaussian, zeros
from ._leaf import Group, Leaf
from ._numbers import check_whole

Pattern = Literal["plain", "banded", "random", "top-k"]
SingularInit = Literal["zero", "authors"]
SINGULAR = Group("factors", 5e-2)


@dataclass(frozen=True)
class Singular(Factorisation):
    """ΔW = σ(g) U M Vᵀ for W = U Σ Vᵀ, thin, n = min(O, I·k²); M is [n, n] with trained entries at some places.

    U and V are the basis: computed from W in double precision, u_i with a sign that weighted sums of its entries fix.

    Args:
        pattern: the places: `plain` (the diagonal), `banded` (|i − j| ≤ d), or as many as `banded`: `random`, or
            `top-k`, where |u_iᵀ v_j| is largest, for square weights.
        off: d ≥ 1, diagonals on each side; more than n − 1 count as all. `plain` has none.
        seed: the seed of random places.
        gate: a trained number g for each weight, with σ(g) initially 1/2; without it σ(g) is 1.
        init: `zero` (M = 0: the plain layer), or `authors` (N(0, 2/n), a variance).

    Raises:
        ValueError: a setting is out of its range; for a weight, `top-k` meets one that is not square.

    Example:
        >>> {name: leaf.shape for name, leaf in Singular("banded", off=2).leaves(Modes((6,), (5,))).items()}
        {'entries': (19,)}
    """

    pattern: Pattern = "plain"
    off: int = 1
    seed: int = 0
    gate: bool = False
    init: SingularInit = "zero"
    basis_words: ClassVar[str] = "singular vectors of the weight"

    def __post_init__(self) -> None:
        for name, value, known in (("pattern", self.pattern, Pattern), ("init", self.init, SingularInit)):
            if value not in get_args(known):
                raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(get_args(known))}")
        check_whole("off", self.off, 1)
        if self.pattern == "plain" and self.off != 1:
            raise ValueError(f"pattern='plain' has no diagonals beside its own, found off={self.off}; use 'banded'")
        check_whole("seed", self.seed, 0, LAST_SEED)

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        n = _size(modes)
        d = 0 if self.pattern == "plain" else min(self.off, n - 1)
        start = zeros if self.init == "zero" else gaussian(math.sqrt(2 / n))
        found = {"entries": Leaf((n * (2 * d + 1) - d * (d + 1),), ("place",), start, SINGULAR)}
        return {**found, "gate": Leaf((1,), ("gate",), zeros, SINGULAR)} if self.gate else found

    def basis(self, weight: Tensor, modes: Modes) -> dict[str, Tensor]:
        u, _, vt = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        weights = (torch.arange(1, 1 + len(u), dtype=u.dtype, device=u.device).square() * 0.618034).cos()
        signs = torch.where(weights @ u < 0, -1.0, 1.0).to(u)
        u, v = u * signs, (vt * signs.unsqueeze(-1)).mT
        found = {"u": u.contiguous(), "v": v.contiguous()}
        return found if self.pattern == "plain" else {**found, "places": self._places(u, v, modes)}

    def _places(self, u: Tensor, v: Tensor, modes: Modes) -> Tensor:
        """The places of entries in M, ascending, row by row."""
        n, count = _size(modes), self.leaves(modes)["entries"].shape[0]
        if u.is_meta:
            return u.new_empty(count, dtype=torch.int64)
        if self.pattern == "banded":
            rows = torch.arange(n, device=u.device)
            return ((rows.unsqueeze(-1) - rows).abs() <= self.off).flatten().nonzero().flatten()
        if self.pattern == "random":
            return permutation(self.seed, 0, n * n)[:count].sort().values.to(u.device)
        if len(u) != len(v):
            raise ValueError(
                f"pattern='top-k' compares singular vectors of both sides, and those of this weight have {len(u)} and "
                f"{len(v)} numbers; choose another pattern, or leave the layer out with targets"
            )
        return (u.mT @ v).abs().flatten().topk(count).indices.sort().values

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        """ΔW; `leaves` include the basis."""
        entries, u, v = leaves["entries"], leaves["u"], leaves["v"]
        if self.gate:
            entries = entries * leaves["gate"].sigmoid()
        if self.pattern == "plain":
            made = (u * entries.unsqueeze(-2)) @ v.mT
        else:
            n, places = _size(modes), leaves["places"].expand_as(entries)
            inner = entries.new_zeros(*entries.shape[:-1], n * n).scatter(-1, places, entries)
            made = u @ inner.unflatten(-1, (n, n)) @ v.mT
        return made.unflatten(-1, modes.shape[1:])


def _size(modes: Modes) -> int:
    out, *others = modes.shape
    return min(out, math.prod(others))

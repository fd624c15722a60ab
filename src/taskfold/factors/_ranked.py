"""Ranks: one for every layer, or one for each by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar, Self, TypeVar

import torch
from torch import Tensor

from ._base import Factorisation, Modes
from ._numbers import check_number, check_whole

Rank = int | Mapping[str, int]
"""One rank for every layer, or `{pattern: rank}` over layer names, first match first; 0: the layer has no update."""


def check_rank(rank: Rank, what: str = "rank") -> None:
    """Checks that a rank, or another number by layer, is an integer ≥ 1; for single layers 0 is allowed.

    Raises:
        ValueError: it is not.
    """
    least = 0 if isinstance(rank, Mapping) else 1
    for pattern, one in (rank if isinstance(rank, Mapping) else {"": rank}).items():
        check_whole(f"{what}[{pattern!r}]" if pattern else what, one, least)


Alpha = float | Mapping[str, float] | None
"""One α for every layer, `{pattern: alpha}` as for ranks, or None: the scale is 1."""
N = TypeVar("N", int, float, float | None)


def rank_at(rank: N | Mapping[str, N], layer: str, what: str = "rank") -> N:
    """The rank of one layer, or another number by layer.

    Args:
        rank: a rank for all layers, or by pattern.
        layer: its name, `path` or, for a part of a fused weight, `path:projection`; a pattern may match either.
        what: the number's name, for the message.

    Raises:
        ValueError: no pattern of a per-layer rank matches it.

    Example:
        >>> rank_at({"layer4.*": 16, "*": 4}, "layer1.0.conv1")
        4
        >>> rank_at({"h.0.attn:query": 2, "h.0.attn": 8}, "h.0.attn:value")
        8
    """
    if not isinstance(rank, Mapping):
        return rank
    for pattern, one in rank.items():
        if fnmatchcase(layer, pattern) or fnmatchcase(layer.rpartition(":")[0], pattern):
            return one
    raise ValueError(f"{what} has no entry for layer {layer!r}, only {list(rank)}; add '*' as the last pattern")


@dataclass(frozen=True)
class Ranked(Factorisation):
    """A sum of terms.

    Args:
        rank: the number of summed terms, ≥ 1; or a rank per layer (see `Rank`).
        alpha: the update is scaled by alpha / rank; None scales by 1. Or an alpha per layer.
    """

    rank: Rank = 8
    alpha: Alpha = None
    component: ClassVar[str] = "term"
    """The axis of each leaf that indexes the terms."""

    def __post_init__(self) -> None:
        check_rank(self.rank)
        for alpha in self.alpha.values() if isinstance(self.alpha, Mapping) else (self.alpha,):
            if alpha is not None:
                check_number("alpha", alpha, "> 0, or None (no scaling)", lambda alpha: alpha > 0)

    def at(self, layer: str) -> Self | None:
        rank = rank_at(self.rank, layer)
        return replace(self, rank=rank, alpha=rank_at(self.alpha, layer, "alpha")) if rank else None

    @property
    def size(self) -> int:
        """The rank, if it is one number."""
        if not isinstance(self.rank, int):
            raise TypeError(f"rank is per layer here: {self.rank!r}; ask `at(layer)` first")
        return self.rank

    @property
    def scale(self) -> float:
        if isinstance(self.alpha, Mapping):
            raise TypeError(f"alpha is per layer here: {self.alpha!r}; ask `at(layer)` first")
        return 1.0 if self.alpha is None else self.alpha / self.size

    def outputs(self, leaves: Mapping[str, Tensor]) -> Tensor:
        """The output-side factor of each term, `[r, …]`: a view, in which the update is linear.

        With zeros there a term is zero, and has a gradient.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which factor is on the output side")

    def aligned(self, leaves: Mapping[str, Tensor], modes: Modes) -> dict[str, Tensor]:
        """Leaves of the same sum with orthogonal terms; empty: there is no such form."""
        return {}

    def kept(self, leaves: Mapping[str, Tensor], modes: Modes, terms: Tensor) -> dict[str, Tensor]:
        """The leaves of some terms, for a factorisation of that rank: α/r does not change.

        Args:
            leaves: the leaves of all terms.
            modes: the weight's modes.
            terms: the indices of the terms to keep.
        """
        axes = {name: leaf.axes.index(self.component) for name, leaf in self.leaves(modes).items()}
        found = {name: leaf.index_select(axes[name], terms) for name, leaf in leaves.items()}
        if self.alpha is not None:
            self.outputs(found).mul_(len(terms) / self.size)
        return found


def orthogonal(outputs: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_r outputs_r ⊗ inputs_r as its singular value decomposition, both sides scaled by √σ.

    Unneeded terms have zero outputs, and inputs of the usual size: they can learn.

    Args:
        outputs: `[r, O]`.
        inputs: `[r, I]`.

    Example:
        >>> u, v = orthogonal(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0], [0.0, 3.0]]))
        >>> (u.T @ v).round().tolist(), u.norm(dim=1).round().tolist()
        ([[0.0, 9.0], [0.0, 0.0]], [3.0, 0.0])
    """
    (one, left), (other, right) = torch.linalg.qr(outputs.T), torch.linalg.qr(inputs.T)
    u, s, v = torch.linalg.svd(left @ right.T, full_matrices=False)
    used = s > 1e-6 * s[:1].clamp_min(torch.finfo(s.dtype).tiny)
    root, usual = s.sqrt(), inputs.norm(dim=1).mean()
    found = torch.zeros_like(outputs), inputs.clone()
    found[0][: len(s)] = ((one @ u) * torch.where(used, root, 0.0)).T
    found[1][: len(s)] = torch.where(used, root, usual)[:, None] * (v @ other.T)
    return found

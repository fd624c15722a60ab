"""Pure algebra on tensors: how few numbers make a weight. One file per factorisation; torch only."""

from ._base import TERMS, Bottleneck, Factorisation, Leaf, Modes, zero_pad
from ._cp import CP
from ._entangled import Entangled
from ._expansion import Expansion
from ._init import Init
from ._linear_expansion import LinearExpansion
from ._lowrank import LowRank
from ._ranked import Rank, Ranked
from ._svd import SVD

__all__ = [
    "CP",
    "SVD",
    "TERMS",
    "Bottleneck",
    "Entangled",
    "Expansion",
    "Factorisation",
    "Init",
    "Leaf",
    "LinearExpansion",
    "LowRank",
    "Modes",
    "Rank",
    "Ranked",
    "zero_pad",
]

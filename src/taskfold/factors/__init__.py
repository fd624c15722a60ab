"""Pure algebra on tensors: how few numbers make a weight. One file per factorisation; torch only."""

from ._base import TERMS, Bottleneck, Factorisation, Leaf, Modes, Rank, zero_pad
from ._cp import CP
from ._entangled import Entangled
from ._init import Init
from ._lowrank import LowRank

__all__ = [
    "CP",
    "TERMS",
    "Bottleneck",
    "Entangled",
    "Factorisation",
    "Init",
    "Leaf",
    "LowRank",
    "Modes",
    "Rank",
    "zero_pad",
]

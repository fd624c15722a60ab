"""Pure algebra on tensors: how few numbers make a weight. One file per factorisation; torch only."""

from ._base import Bottleneck, Factorisation, Leaf, Modes, Rank, zero_pad
from ._cp import CP
from ._init import Init
from ._lowrank import LowRank

__all__ = ["CP", "Bottleneck", "Factorisation", "Init", "Leaf", "LowRank", "Modes", "Rank", "zero_pad"]

"""Factorisations of weights: pure algebra on tensors, on torch alone, with one file per factorisation."""

from ._base import TERMS, Bottleneck, Factorisation, Modes, zero_pad
from ._bits import Bits, packed, unpacked
from ._centre import Centre, PointInit
from ._copy import Copy
from ._cp import CP
from ._dora import Direction
from ._draws import LAST_SEED
from ._entangled import Entangled
from ._expansion import Expansion
from ._fastfood import Fastfood
from ._fourier import Fourier
from ._gated import Gated
from ._hard import hard
from ._init import Init
from ._kronecker import Kronecker, KroneckerInit
from ._leaf import FACTORS, HEAD, NORM, STATISTICS, WEIGHTS, Group, Leaf, Scope, lowest_rates
from ._linear_expansion import LinearExpansion
from ._lowrank import LowRank
from ._mask import MASK, PRODUCT, Mask, masked
from ._numbers import check_number, check_whole
from ._ranked import Alpha, Rank, Ranked
from ._singular import Pattern, Singular, SingularInit
from ._storage import Indices, OnBasis, Storage, marks_of
from ._svd import SVD

__all__ = [
    "CP",
    "FACTORS",
    "HEAD",
    "LAST_SEED",
    "MASK",
    "NORM",
    "PRODUCT",
    "STATISTICS",
    "SVD",
    "TERMS",
    "WEIGHTS",
    "Alpha",
    "Bits",
    "Bottleneck",
    "Centre",
    "Copy",
    "Direction",
    "Entangled",
    "Expansion",
    "Factorisation",
    "Fastfood",
    "Fourier",
    "Gated",
    "Group",
    "Indices",
    "Init",
    "Kronecker",
    "KroneckerInit",
    "Leaf",
    "LinearExpansion",
    "LowRank",
    "Mask",
    "Modes",
    "OnBasis",
    "Pattern",
    "PointInit",
    "Rank",
    "Ranked",
    "Scope",
    "Singular",
    "SingularInit",
    "Storage",
    "check_number",
    "check_whole",
    "hard",
    "lowest_rates",
    "marks_of",
    "masked",
    "packed",
    "unpacked",
    "zero_pad",
]

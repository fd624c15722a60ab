"""Pure algebra on tensors: how few numbers make a weight. One file per factorisation; torch only."""

from ._base import TERMS, Bottleneck, Factorisation, Modes, zero_pad
from ._bits import Bits, packed, unpacked
from ._centre import Centre, PointInit
from ._copy import Copy
from ._cp import CP
from ._entangled import Entangled
from ._expansion import Expansion
from ._gated import Gated
from ._hard import hard
from ._init import Init
from ._leaf import FACTORS, HEAD, NORM, STATISTICS, Group, Leaf, Scope
from ._linear_expansion import LinearExpansion
from ._lowrank import LowRank
from ._mask import MASK, PRODUCT, Mask, masked
from ._ranked import Rank, Ranked
from ._svd import SVD

__all__ = [
    "CP",
    "FACTORS",
    "HEAD",
    "MASK",
    "NORM",
    "PRODUCT",
    "STATISTICS",
    "SVD",
    "TERMS",
    "Bits",
    "Bottleneck",
    "Centre",
    "Copy",
    "Entangled",
    "Expansion",
    "Factorisation",
    "Gated",
    "Group",
    "Init",
    "Leaf",
    "LinearExpansion",
    "LowRank",
    "Mask",
    "Modes",
    "PointInit",
    "Rank",
    "Ranked",
    "Scope",
    "hard",
    "masked",
    "packed",
    "unpacked",
    "zero_pad",
]

"""Rules of sharing: which leaves a task uses: its own, all tasks' common ones, or a mixture of an inventory."""

from ._base import Sharing, sharing
from ._core import CORE, Core
from ._diagonal import DIAGONAL, Diagonal
from ._mhr import MultiHeadRouting
from ._poly import PolyRouting
from ._private import Private
from ._routed import ALPHA, LOGITS, Allocation, Granularity, Routed
from ._shared import Shared
from ._tensor_poly import OrderRouting, TermRouting
from ._tree import Tree

__all__ = [
    "ALPHA",
    "CORE",
    "DIAGONAL",
    "LOGITS",
    "Allocation",
    "Core",
    "Diagonal",
    "Granularity",
    "MultiHeadRouting",
    "OrderRouting",
    "PolyRouting",
    "Private",
    "Routed",
    "Shared",
    "Sharing",
    "TermRouting",
    "Tree",
    "sharing",
]

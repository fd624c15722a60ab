from __future__ import annotations

from dataclasses import dataclass

import torch

from ..factors import TERMS, Group, Leaf, check_whole
from ._base import Leaves, Sharing, Tensors
from ._tensor_poly import count_terms

DIAGONAL = "diagonal"

_GROUP = Group(DIAGONAL, 1e-2)


@dataclass(frozen=True)
class Diagonal(Sharing):
    """All tasks use the same leaves, and each weights their terms by its own diagonal m, which starts at 1.

    Deep over-parameterised multi-task learning, section 2.2: U diag(m_t) V. Several diagonals of a task are multiplied,
    number by number.

    Args:
        diagonals: a task's number of diagonals, ≥ 1.

    Raises:
        ValueError: the setting is out of its range.
    """

    diagonals: int = 1
    name = "diagonal"
    keeps_leaves = True

    def __post_init__(self) -> None:
        check_whole("diagonals", self.diagonals, 1)

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return dict(leaves)

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        shape = (self.diagonals, count_terms(self.name, leaves, least=1))
        return {DIAGONAL: Leaf(shape, ("group", "term"), torch.nn.init.ones_, _GROUP)}

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        return {**inventory, TERMS: own[DIAGONAL].prod(-2)}

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..factors import Leaf, check_whole
from ._base import Leaves, Tensors
from ._routed import Routed


@dataclass(frozen=True)
class MultiHeadRouting(Routed):
    """Poly with its own α for each of several slices of the layer's dimensions, the same for input and output.

    Caccia et al., "Multi-Head Adapter Routing for Cross-Task Generalization", section 3.

    Args:
        skills: S ≥ 2.
        splits: the number of slices, ≥ 1; must divide the input and output dimensions of every leaf.

    Raises:
        ValueError: a setting is out of its range.
    """

    skills: int = 8
    splits: int = 4
    name = "mhr"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("skills", self.skills, 2)
        check_whole("splits", self.splits, 1)

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        return {name: self._split(name, leaf) for name, leaf in leaves.items()}

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return self.logits(self.splits, self.skills)

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        weights = self.alpha(own, training)  # [*, splits, S] or [*, T, splits, S]
        mixed: dict[str, Tensor] = {}
        for name, bank in inventory.items():
            size = len(leaves[name].shape)
            axis = _sliced(name, leaves[name]) - size
            flat = bank.flatten(-size).to(weights.dtype)  # [*, splits, S, rest]
            alone = weights.dim() < flat.dim()
            parts = (weights.unsqueeze(-2) if alone else weights.transpose(-3, -2)) @ flat  # [*, splits, T, rest]
            parts = parts.unflatten(-1, bank.shape[-size:]).movedim(-size - 2, axis - 1)  # slices to their dimension
            parts = parts.flatten(axis - 1, axis)
            mixed[name] = parts.squeeze(-size - 1) if alone else parts
        return mixed

    def _split(self, name: str, leaf: Leaf) -> Leaf:
        axis = _sliced(name, leaf)
        if leaf.shape[axis] % self.splits:
            raise ValueError(
                f"splits={self.splits} does not divide the {leaf.shape[axis]} of axis {leaf.axes[axis]!r} of leaf "
                f"{name!r} {leaf.shape}; choose a divisor, or leave the layer out with targets"
            )
        shape = list(leaf.shape)
        shape[axis] //= self.splits

        def start(bank: Tensor) -> None:
            for skill in range(self.skills):
                whole_leaf = bank.new_empty(leaf.shape)
                leaf.start(whole_leaf)
                bank[:, skill] = whole_leaf.unflatten(axis, (self.splits, -1)).movedim(axis, 0)

        return Leaf((self.splits, self.skills, *shape), ("split", "expert", *leaf.axes), start, leaf.group)


def _sliced(name: str, leaf: Leaf) -> int:
    axes = [n for n, axis in enumerate(leaf.axes) if axis.startswith(("out", "inp"))]
    if len(axes) != 1:
        raise ValueError(
            f"mhr slices one input or output axis of each leaf, and leaf {name!r} with axes {leaf.axes} has "
            f"{len(axes)}; use sharing 'poly' or 'tensorpoly-i' for this factorisation on this layer"
        )
    return axes[0]

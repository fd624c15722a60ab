"""Routing inside a sum of products: its terms are the experts.

TensorPoly (Su et al., "Mixture of Latent Experts Using Tensor Products"), section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..factors import TERMS, Leaf
from ._base import Leaves, Tensors
from ._routed import Routed


@dataclass(frozen=True)
class TermRouting(Routed):
    """TensorPoly-I: a task weights the terms of a common sum, A_t = Σ_k α_k ⊗_i A[i,k]."""

    name = "tensorpoly-i"

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        count_terms(self.name, leaves)
        return dict(leaves)

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return self.logits(count_terms(self.name, leaves))

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        return {**inventory, TERMS: self.alpha(own, training)}


@dataclass(frozen=True)
class OrderRouting(Routed):
    """TensorPoly-II: a task mixes each order's factors first, then multiplies: A_t = ⊗_i Σ_k α[i,k] A[i,k].

    α is normalised over the terms k for each order i (the authors' code; the paper's formula has it the other way).
    Where the factors of a product are separate leaves (CP: output, input, kernel), each leaf is an order.
    """

    name = "tensorpoly-ii"

    def inventory(self, leaves: Leaves) -> dict[str, Leaf]:
        count_terms(self.name, leaves)
        return dict(leaves)

    def own(self, leaves: Leaves) -> dict[str, Leaf]:
        return self.logits(_orders(leaves), count_terms(self.name, leaves))

    def select(self, inventory: Tensors, own: Tensors, leaves: Leaves, training: bool) -> Tensors:
        weights = self.alpha(own, training)  # [*, orders, terms] or [*, T, orders, terms]
        mixed: dict[str, Tensor] = {}
        for n, (name, bank) in enumerate(inventory.items()):
            axes = leaves[name].axes
            if "order" in axes:
                mixed[name] = _by_order(weights, bank, len(axes))
            else:
                mixed[name] = _of_order(weights[..., n, :], bank, axes)
        return mixed


def _by_order(weights: Tensor, bank: Tensor, size: int) -> Tensor:
    """A leaf of all orders, `[*, orders, terms, …]` of `size` axes: one matrix product per order, one term left."""
    flat = bank.flatten(2 - size).to(weights.dtype)
    alone = weights.dim() < flat.dim()
    tasks = weights.unsqueeze(-3) if alone else weights
    parts = (tasks.transpose(-3, -2) @ flat).transpose(-3, -2).unsqueeze(-2)  # [*, T, orders, 1, rest]
    parts = parts.unflatten(-1, bank.shape[2 - size :])
    return parts.squeeze(-size - 1) if alone else parts


def _of_order(weights: Tensor, bank: Tensor, axes: tuple[str, ...]) -> Tensor:
    """Mixes a leaf that is one of the orders, with terms on any axis."""
    shape = [size if axis == "term" else 1 for size, axis in zip(bank.shape, axes, strict=True)]
    mine = weights.reshape(*weights.shape[:-1], *shape)
    return (mine * bank).sum(axes.index("term") - len(axes), keepdim=True)


def count_terms(rule: str, leaves: Leaves, least: int = 2) -> int:
    """The number of terms that a factorisation's leaves sum.

    Raises:
        ValueError: the leaves have no terms, or too few.
    """
    sizes = {leaf.shape[leaf.axes.index("term")] if "term" in leaf.axes else 0 for leaf in leaves.values()}
    if len(sizes) != 1 or min(sizes) < least:
        shapes = {name: leaf.shape for name, leaf in leaves.items()}
        raise ValueError(
            f"{rule} weighs the terms of a sum and needs at least {least} of them, found leaves {shapes}; raise "
            "tensor_rank (entangled tensors) or rank (CP, low rank)"
        )
    return sizes.pop()


def _orders(leaves: Leaves) -> int:
    first = next(iter(leaves.values()))
    return first.shape[first.axes.index("order")] if "order" in first.axes else len(leaves)

"""The base of routed rules: a task's logits Z, and the mixing weights α from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..factors import Group, Leaf
from ..files import LOGITS
from ._base import Sharing, Tensors

_GROUP = Group(LOGITS, 0.1)

ALPHA = "alpha"
"""The leaf with final mixing weights, in place of logits."""

Allocation = Literal["sigmoid", "bernoulli", "random"]
Granularity = Literal["layer", "block", "model"]


@dataclass(frozen=True)
class Routed(Sharing):
    """A task's mixture of a common inventory: α = ẑ / Σ ẑ, ẑ = sigmoid(Z). Poly (Ponti et al. 2023), equation 2.

    Args:
        allocation: how ẑ is made in training: `sigmoid`, as in evaluation; `bernoulli`, from the relaxed Bernoulli
            distribution at temperature 1, anew for each task and forward pass; `random`, a fair coin per expert and row
            of the batch (the control: it ignores the logits, which keep their initial values, and evaluation averages).
        granularity: the layers that share logits: each its own (`layer`), those of a `block` (a layer's name
            up to its first number: `encoder.block.3`), or all of the `model`.

    Raises:
        ValueError: a setting is not one of these.
    """

    allocation: Allocation = "sigmoid"
    granularity: Granularity = "layer"

    def __post_init__(self) -> None:
        for name, kinds in (("allocation", Allocation), ("granularity", Granularity)):
            if (value := getattr(self, name)) not in get_args(kinds):
                allowed = ", ".join(map(repr, get_args(kinds)))
                raise ValueError(f"{name}={value!r} is not known; choose one of {allowed}")

    def logits(self, *shape: int) -> dict[str, Leaf]:
        """A task's logits, the experts last."""
        axes = (*("group" for _ in shape[:-1]), "expert")
        start = _even if self.allocation == "random" else _uniform
        return {LOGITS: Leaf(shape, axes, start, _GROUP, self.granularity)}

    def alpha(self, own: Tensors, training: bool) -> Tensor:
        """The mixing weights of one task, or `[T, …]`: final ones, or computed from logits."""
        return own[ALPHA] if ALPHA in own else self.mixing(own[LOGITS], training)

    def mixing(self, logits: Tensor, training: bool) -> Tensor:
        """α `[…, experts]`, which sums to 1 over the experts."""
        if not training or self.allocation == "sigmoid":
            z = logits.sigmoid()
        elif self.allocation == "bernoulli":
            noise = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
            z = (logits + noise.logit()).sigmoid()
        else:
            z = torch.randint_like(logits, 2)
            z = torch.where(z.sum(-1, keepdim=True) > 0, z, 1.0)
        return z / (z.sum(-1, keepdim=True) + 1e-12)

    def draws_per_row(self, training: bool) -> bool:
        return training and self.allocation == "random"


def _uniform(leaf: Tensor) -> None:
    torch.nn.init.uniform_(leaf, -1e-3, 1e-3)


def _even(leaf: Tensor) -> None:
    torch.nn.init.zeros_(leaf)

"""A whole weight's change behind a gate: TAPS (Wallingford et al., 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from ._base import Factorisation, Modes
from ._hard import hard
from ._leaf import WEIGHTS, Group, Leaf

SCORE = Group("score", 1e-2)


@dataclass(frozen=True)
class Gated(Factorisation):
    """W_t = W + 1[s ≥ τ] δ: one score s for the layer, and a number δ for each weight.

    s trains as if the gate were s: ∂L/∂s = ⟨∂L/∂W_t, δ⟩, also where the gate is closed. Then δ has no gradient, the
    weight is W, and files leave δ out.

    Args:
        threshold: τ.
        start: the initial s; ≥ τ, so that the gate is open.

    Example:
        >>> from torch import tensor
        >>> leaves = {"delta": tensor([[2.0]]), "score": tensor([0.05])}
        >>> Gated().materialise(leaves, Modes((1,), (1,))).tolist()
        [[0.0]]
    """

    threshold: float = 0.1
    start: float = 0.15

    def leaves(self, modes: Modes) -> dict[str, Leaf]:
        axes = ("out", "inp", *("kernel" for _ in modes.kernel))
        return {
            "delta": Leaf(modes.shape, axes, nn.init.zeros_, WEIGHTS),
            "score": Leaf((1,), ("layer",), partial(nn.init.constant_, val=self.start), SCORE, exact=True),
        }

    def gate(self, score: Tensor) -> Tensor:
        """1 if the score is ≥ τ, else 0, with the gradient of the score."""
        return hard(score, lambda s: (s >= self.threshold).to(s.dtype))

    def materialise(self, leaves: Mapping[str, Tensor], modes: Modes) -> Tensor:
        delta = leaves["delta"]
        gate = self.gate(leaves["score"]).to(delta.dtype)
        return gate.reshape(*gate.shape[:-1], *(1 for _ in modes.shape)) * delta

    def silent(self, leaves: Mapping[str, Tensor]) -> frozenset[str]:
        return frozenset() if bool(self.gate(leaves["score"].detach()).any()) else frozenset({"delta"})

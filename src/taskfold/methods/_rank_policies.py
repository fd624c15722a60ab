"""Policies that score the components of a task's update, to choose the layers' ranks (`rank="auto"`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..layers import Components

PolicyName = Literal["importance", "gates", "gradients"]


class RankPolicy(ABC):
    """Scores components while they train; those of the highest scores within the budget remain.

    Args:
        layers: the components of each layer.

    Attributes:
        begin, end: the shares of the training's steps between which ranks decrease.
        aligns: a layer's components are made orthogonal, if possible, before the choice: otherwise
            several may share the work of one.
        state: tensors that the next score depends on, by name, for a checkpoint.
    """

    name: ClassVar[PolicyName]
    begin: ClassVar[float] = 0.1
    end: ClassVar[float] = 0.5
    aligns: ClassVar[bool] = True

    def __init__(self, layers: Sequence[Components]) -> None:
        self.layers = layers
        self.state: dict[str, Tensor] = {}

    @abstractmethod
    def observe(self) -> None:
        """Read leaves and gradients after a step, until the ranks are final."""

    @abstractmethod
    def scores(self) -> list[Tensor]:
        """The score of each component per number, `[r]` by layer."""


class Importance(RankPolicy):
    """Sensitivity times its uncertainty, smoothed: AdaLoRA's importance.

    Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", section 3.2, equations 8 to
    11, with β₁ = β₂ = 0.85:

        I(w) = |w ∂L/∂w|,  Ī ← β₁ Ī + (1 − β₁) I,  Ū ← β₂ Ū + (1 − β₂) |I − Ī|,  s(w) = Ī(w) Ū(w)

    A component's score is the sum of the means of s over each of its vectors. AdaLoRA's singular value λ is not there;
    its sensitivity λ ∂L/∂λ is that of the whole vector on the output side, Σ w ∂L/∂w, and is added likewise.
    """

    name: ClassVar[PolicyName] = "importance"
    smoothing: ClassVar[float] = 0.85

    def observe(self) -> None:
        for layer in self.layers:
            gradients = layer.gradients()
            if gradients is None:
                continue
            products = [rows * grads for rows, grads in zip(layer.rows(), gradients, strict=True)]
            each = [*products, products[0].sum(1, keepdim=True)]
            for n, found in enumerate(each):
                now = torch.where(found.isfinite(), found, 0.0).abs()
                mean = self.state.setdefault(f"{layer.layer}/{n}/mean", torch.zeros_like(now))
                spread = self.state.setdefault(f"{layer.layer}/{n}/spread", torch.zeros_like(now))
                mean.lerp_(now, 1 - self.smoothing)
                spread.lerp_((now - mean).abs(), 1 - self.smoothing)

    def scores(self) -> list[Tensor]:
        return [self._score(layer) for layer in self.layers]

    def _score(self, layer: Components) -> Tensor:
        found = torch.zeros(layer.rank, device=layer.rows()[0].device)
        for n in range(len(layer.rows()) + 1):
            if (key := f"{layer.layer}/{n}") + "/mean" in self.state:
                found += (self.state[f"{key}/mean"] * self.state[f"{key}/spread"]).mean(1)
        return found


class Gates(RankPolicy):
    """The size of each component, under a proximal step that draws all of them to zero: SoRA's gates.

    Ding et al., "Sparse Low-rank Adaptation of Pre-trained Language Models", section 3.2, equation 6: a gate g before
    each component is followed by the proximal step of λ‖g‖₁, g ← sign(g) max(|g| − ηλ, 0). Here a gate is the norm of
    its component, the product of its vectors' norms, without further parameters; ηλ is a share of the mean gate, and
    components beyond the budget are closed. A component's score is g² over its numbers, the least squared change
    of weights per removed number.
    """

    name: ClassVar[PolicyName] = "gates"
    shrinkage: ClassVar[float] = 1e-3

    def observe(self) -> None:
        gates = [self._gates(layer) for layer in self.layers]
        threshold = self.shrinkage * torch.cat(gates).mean()
        for layer, gate in zip(self.layers, gates, strict=True):
            layer.scale((1 - threshold / gate.clamp_min(1e-30)).clamp_min(0.0))

    def scores(self) -> list[Tensor]:
        return [self._gates(layer).square() / layer.cost for layer in self.layers]

    def _gates(self, layer: Components) -> Tensor:
        return torch.stack([rows.float().norm(dim=1) for rows in layer.rows()]).prod(0)


class Gradients(RankPolicy):
    """The gradient of each layer's weight in the first steps, after which ranks are final: GoRA's allocation.

    He et al., "GoRA: Gradient-driven Adaptive Low Rank Adaptation", section 3.2: a layer of importance I has the share
    I / Σ I of the budget, I from gradients accumulated before the training. The backbone is frozen here and has none; a
    layer's components see G in as many directions, ∂L/∂(output vector) = G · (input vector), and I is the mean norm of
    these, accumulated, over that of the directions. The n-th component of a layer has the score I / (n · cost): taking
    the highest makes the numbers of layers proportional to I (D'Hondt's divisors).
    """

    name: ClassVar[PolicyName] = "gradients"
    begin: ClassVar[float] = 0.05
    end: ClassVar[float] = 0.05
    aligns: ClassVar[bool] = False

    def observe(self) -> None:
        for layer in self.layers:
            gradients = layer.gradients()
            if gradients is not None:
                found = torch.where(gradients[0].isfinite(), gradients[0], 0.0)
                self.state.setdefault(layer.layer, torch.zeros_like(found)).add_(found)

    def scores(self) -> list[Tensor]:
        return [self._score(layer) for layer in self.layers]

    def _score(self, layer: Components) -> Tensor:
        if layer.layer not in self.state:
            return torch.zeros(layer.rank, device=layer.rows()[0].device)
        directions = torch.stack([rows.float().norm(dim=1) for rows in layer.rows()[1:]]).prod(0)
        norms = self.state[layer.layer].float().norm(dim=1) / directions.clamp_min(1e-30)
        places = norms.argsort(descending=True, stable=True).argsort() + 1
        return norms.mean() / (places * layer.cost)


POLICIES: dict[str, type[RankPolicy]] = {policy.name: policy for policy in (Importance, Gates, Gradients)}


def check_policy(name: object) -> None:
    """Checks that a policy exists.

    Raises:
        ValueError: it does not.
    """
    if name not in POLICIES:
        raise ValueError(f"rank_policy={name!r} is not known; choose one of {', '.join(get_args(PolicyName))}")

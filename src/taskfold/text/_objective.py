"""The objective of few-shot transfer: language modelling, choice and unlikelihood, one loss per example."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._batch import TextBatch
from ._scores import TokenScores, row_scores, token_scores


@dataclass(frozen=True)
class Objective:
    """The loss of few-shot transfer, one per example: it is not averaged over the batch, whose tasks may have weights.

    Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", section 3.2.

    - language modelling: −log p per token of the true target
    - multiple choice: cross-entropy over the choices, scored by Σ log p of their tokens, per token if length-normalised
    - unlikelihood: −log(1 − p) per token of the wrong choices

    The last two are 0 for examples without choices. Everything is computed in at least float32,
    even if the network runs in lower precision.

    Args:
        lm, mc, ul: weights ≥ 0 of the three.
        length_normalised: compare choices per token.

    Raises:
        ValueError: a weight is negative or not finite, or all are 0.
    """

    lm: float = 1.0
    mc: float = 1.0
    ul: float = 1.0
    length_normalised: bool = True

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("lm", "mc", "ul")}
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name} must be a finite weight >= 0, found {weight}")
        if not any(weights.values()):
            raise ValueError("lm, mc and ul are all 0, so nothing would be learned; give one of them a weight")

    def __call__(self, model: nn.Module, batch: TextBatch, tasks: str | Sequence[str]) -> Tensor:
        """The loss of each example, `[B]`.

        Args:
            model: a `MultiTask` without heads, whose output has `logits`.
            batch: from the collator, on the model's device.
            tasks: a name per example, or one for all.

        Raises:
            ValueError: the numbers of names and examples differ.
        """
        parts = self.parts(model, batch, tasks)
        return self.lm * parts.lm + self.mc * parts.mc + self.ul * parts.ul

    def parts(self, model: nn.Module, batch: TextBatch, tasks: str | Sequence[str]) -> Parts:
        """The three losses of each example, unweighted; 0 for losses of weight 0."""
        scores = token_scores(model, batch, tasks)
        found = scores.log_probabilities()
        zero = found.new_zeros(len(batch))
        choices = len(batch.correct) > len(batch)
        return Parts(
            -row_scores(scores, found, True)[batch.correct] if self.lm else zero,
            _choice(row_scores(scores, found, self.length_normalised), batch) if self.mc and choices else zero,
            _unlikelihood(scores, batch) if self.ul and choices else zero,
        )


@dataclass(frozen=True)
class Parts:
    """The three losses, each `[B]`."""

    lm: Tensor
    mc: Tensor
    ul: Tensor

    def detached(self) -> dict[str, Tensor]:
        """The losses by name, without gradients, for a log."""
        return {field.name: getattr(self, field.name).detach() for field in dataclasses.fields(self)}


def _choice(worth: Tensor, batch: TextBatch) -> Tensor:
    """Cross-entropy over the choices of each example; 0 for a single choice."""
    most = worth.new_zeros(len(batch)).scatter_reduce(0, batch.example, worth.detach(), "amax", include_self=False)
    mass = worth.new_zeros(len(batch)).index_add(0, batch.example, (worth - most[batch.example]).exp())
    return most + mass.log() - worth[batch.correct]


def _unlikelihood(scores: TokenScores, batch: TextBatch) -> Tensor:
    wrong = ~batch.correct[scores.row]
    logits, token = scores.logits[wrong], scores.token[wrong]
    # 1 − p as the mass of all other tokens: from log p it would be 0 where p rounds to 1, and so would its gradient,
    # just where a wrong answer is most likely.
    others = logits.scatter(1, token[:, None], -torch.inf).logsumexp(1)
    losses = logits.logsumexp(1) - others
    example = batch.example[scores.row[wrong]]
    sums = losses.new_zeros(len(batch)).index_add(0, example, losses)
    tokens = losses.new_zeros(len(batch)).index_add(0, example, torch.ones_like(losses))
    return sums / tokens.clamp(min=1)

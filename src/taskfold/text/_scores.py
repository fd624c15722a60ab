"""Log-probabilities of the tokens in a batch's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._batch import IGNORED, TextBatch


@dataclass(frozen=True)
class TokenScores:
    """The n scored tokens of a batch, row after row; at least float32.

    Attributes:
        logits: `[n, vocabulary]`.
        token: `[n]`, the right token.
        row: `[n]`, the token's row.
        lengths: `[rows]`, the number of scored tokens in each row.
    """

    logits: Tensor
    token: Tensor
    row: Tensor
    lengths: Tensor

    def log_probabilities(self) -> Tensor:
        """The log-probability of each token, `[n]`."""
        return -F.cross_entropy(self.logits, self.token, reduction="none")

    def row_sums(self, values: Tensor) -> Tensor:
        """Sums over the tokens of each row, `[rows]`."""
        return values.new_zeros(len(self.lengths)).index_add(0, self.row, values)


def token_scores(model: nn.Module, batch: TextBatch, tasks: str | Sequence[str]) -> TokenScores:
    """Run the batch, each row for its example's task, and keep the scored positions.

    Args:
        model: a `MultiTask` without heads (or what wraps one), whose output has `logits [rows, L, vocabulary]`.
        batch: on the model's device.
        tasks: a name per example, or one for all.
    """
    names = batch.row_tasks(tasks)
    task = names[0] if len(set(names)) == 1 else names
    logits: Tensor = model(**batch.inputs, task=task).logits
    scored = batch.labels != IGNORED
    row = scored.nonzero()[:, 0]
    # Only scored tokens become float32: with a large vocabulary the others would take most of the memory.
    picked = logits[scored]
    picked = picked if picked.dtype == torch.float64 else picked.float()
    return TokenScores(picked, batch.labels[scored], row, scored.sum(1))


def row_scores(scores: TokenScores, log_probabilities: Tensor, length_normalised: bool) -> Tensor:
    """Σ log p of each row, `[rows]`; divided by its number of tokens, the end token included, if length-normalised."""
    sums = scores.row_sums(log_probabilities)
    return sums / scores.lengths if length_normalised else sums

"""What a network thinks of the rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._batch import IGNORED, TextBatch


@dataclass(frozen=True)
class TokenScores:
    """Scored tokens of a batch, n of them, row after row; float32 at least.

    Attributes:
        logits: `[n, vocabulary]`.
        token: `[n]`, the token that should come.
        row: `[n]`, the row that it stands in.
        lengths: `[rows]`, scored tokens of each row.
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
    """Run the batch, each row for its example's task, and keep the places that are scored.

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
    # Only what is scored becomes float32: with a large vocabulary the rest would be most of the memory.
    picked = logits[scored]
    picked = picked if picked.dtype == torch.float64 else picked.float()
    return TokenScores(picked, batch.labels[scored], row, scored.sum(1))


def row_scores(scores: TokenScores, log_probabilities: Tensor, length_normalised: bool) -> Tensor:
    """Σ log p of each row, `[rows]`; divided by its tokens, its end included, if length-normalised."""
    sums = scores.row_sums(log_probabilities)
    return sums / scores.lengths if length_normalised else sums

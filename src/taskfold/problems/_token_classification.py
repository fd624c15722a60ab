from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ._base import Cells, Loss, Problem, TargetError
from ._classification import check_indices, in_order
from ._library import metrics

__all__ = ["IGNORED", "TokenClassification"]

IGNORED = -100
"""The target of tokens without one: padding, special tokens, all but a word's first."""


def token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, the mean over the tokens with a target in each row: `[B, T, C]`, `[B, T]` → `[B]`."""
    each = F.cross_entropy(outputs.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    return each.sum(1) / (targets != IGNORED).sum(1).clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class TokenClassification(Problem):
    """A class for each word of a text (names, parts of speech): outputs for each token.

    Example:
        >>> problem, names = TokenClassification().fitted([("O", "B-city"), ("O",)])
        >>> names, problem.target(("O", "B-city"), names)
        (('B-city', 'O'), (1, 0))
    """

    kind: ClassVar[str] = "token-classification"
    words: ClassVar[str] = "a class for each word"
    per_word: ClassVar[bool] = True
    losses: ClassVar[Mapping[str, Loss]] = {"cross-entropy": token_loss}
    select_by: ClassVar[tuple[str, ...]] = ("auto", "accuracy", "macro_f1", "word_accuracy", "loss", "last")
    better: ClassVar[Mapping[str, bool]] = {"macro_f1": True, "word_accuracy": True, "entity_f1": True}
    shares: ClassVar[frozenset[str]] = frozenset(better)
    titles: ClassVar[Mapping[str, str]] = {"entity_f1": "entity F1", "macro_f1": "macro F1"}

    columns: tuple[str, ...] = ("tags",)

    def read(self, cells: Cells) -> tuple[str, ...]:
        """A list of classes, or a text of them with spaces between."""
        [cell] = cells
        parts = cell.split() if isinstance(cell, str) else cell
        if not isinstance(parts, list | tuple) or not parts or not all(isinstance(one, str) and one for one in parts):
            raise TargetError(f"{self.columns[0]} must be a list of classes, one for each word, found {cell!r:.60}")
        return tuple(parts)

    def fitted(self, labels: Sequence[tuple[str, ...]]) -> tuple[Self, tuple[str, ...]]:
        return self, in_order([tag for one in labels for tag in one])

    def target(self, label: tuple[str, ...], names: Sequence[str]) -> tuple[int, ...]:
        return tuple(names.index(tag) for tag in label)

    def check_rows(self, outputs: Tensor, targets: Tensor, name: str) -> None:
        check_indices(outputs, targets, name, IGNORED)

    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The share of right tokens of each row."""
        there = targets != IGNORED
        right = ((outputs.argmax(-1) == targets) & there).sum(1) / there.sum(1).clamp_min(1)
        return {"accuracy": right.to(outputs.dtype)}

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        there = targets != IGNORED
        said, wanted = outputs.argmax(-1)[there], targets[there]
        known = torch.cat([said, wanted]).unique()
        f1 = metrics("torchmetrics.functional.classification").multiclass_f1_score(
            said, wanted, outputs.shape[-1], average="none"
        )
        return {"macro_f1": float(f1[known].mean()), "word_accuracy": float((said == wanted).double().mean())}

    def scores_of(self, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """The scores of all words: texts of other batches are longer."""
        return super().scores_of([(outputs.flatten(0, 1), targets.flatten()) for outputs, targets in batches])

    def answer(self, output: Tensor, names: Sequence[str], top: int = 0) -> dict[str, Any]:
        del top
        indices: list[int] = output.argmax(-1).tolist()
        tags = [names[index] for index in indices]
        return {"tags": tags, "said": " ".join(tags)}

    def said(self, target: Sequence[int], names: Sequence[str]) -> str:
        return " ".join([names[index] for index in target if index != IGNORED])

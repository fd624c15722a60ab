from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor

from ._base import Cells, Loss, Problem, TargetError, finite, named_all
from ._classification import in_order
from ._library import metrics

__all__ = ["MultiLabel"]

YES, NO = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", ""}


@dataclass(frozen=True, kw_only=True)
class MultiLabel(Problem):
    """Any number of labels at once, or none: an output for each label, binary cross-entropy.

    Labels are in one column with a separator in between, or each has its own column with 0 or 1.

    Attributes:
        separator: the text between labels of one column.
        threshold: the least probability of an answered label, in (0, 1).

    Example:
        >>> problem, names = MultiLabel().fitted([("dog",), ("cat", "dog")])
        >>> names, problem.target(("dog",), names)
        (('cat', 'dog'), (0.0, 1.0))
    """

    kind: ClassVar[str] = "multi-label"
    words: ClassVar[str] = "any number of labels"
    losses: ClassVar[Mapping[str, Loss]] = {"bce": F.binary_cross_entropy_with_logits}
    select_by: ClassVar[tuple[str, ...]] = (
        *("auto", "f1", "macro_f1", "micro_f1", "average_precision", "exact_match", "loss", "last"),
    )
    better: ClassVar[Mapping[str, bool]] = {
        "macro_f1": True,
        "micro_f1": True,
        "average_precision": True,
        "exact_match": True,
    }
    shares: ClassVar[frozenset[str]] = frozenset(better)
    titles: ClassVar[Mapping[str, str]] = {
        "macro_f1": "macro F1",
        "micro_f1": "micro F1",
        "average_precision": "mean average precision",
    }

    separator: str = ";"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.separator.strip():
            raise ValueError(f"separator must be a character that is no space, found {self.separator!r}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, found {self.threshold}")

    def read(self, cells: Cells) -> tuple[str, ...]:
        if len(cells) != len(self.columns):
            raise TargetError(
                f"there must be {len(self.columns)} columns ({', '.join(self.columns)}), found {len(cells)}"
            )
        if len(cells) > 1:
            return tuple(column for cell, column in zip(cells, self.columns, strict=True) if _yes(cell, column))
        cell = next(iter(cells))
        parts = cell if isinstance(cell, list | tuple) else str("" if cell is None else cell).split(self.separator)
        found = [text for part in parts if (text := str(part).strip())]
        if twice := [label for label, times in Counter(found).items() if times > 1]:
            raise TargetError(f"{self.columns[0]} has {twice[0]!r} twice, found {cell!r}; keep one")
        return tuple(found)

    def fitted(self, labels: Sequence[tuple[str, ...]]) -> tuple[Self, tuple[str, ...]]:
        """All labels that occur; with a column for each label, all columns."""
        names = self.columns if len(self.columns) > 1 else in_order([label for one in labels for label in one])
        if not names:
            raise TargetError(
                f"{', '.join(self.columns)}: no row has a label; labels stand with {self.separator!r} between"
            )
        if len(self.columns) == 1:
            self._check_names(names, one_each=all(len(one) < 2 for one in labels))
        return self, names

    def _check_names(self, names: Sequence[str], *, one_each: bool) -> None:
        """What stands in one column are names of labels, parted as the problem says."""
        column = self.columns[0]
        if {*map(str.lower, names)} <= YES | NO:
            raise TargetError(
                f"{column} must have names of labels, found {' and '.join(names)}; give a column for each label, or "
                "problem: classification"
            )
        for mark in set(",;|") - {self.separator}:
            joined = [name for name in names if mark in name and name.partition(mark)[0].strip() in names]
            if one_each and joined:
                raise TargetError(
                    f"{column} has {joined[0]!r}, which is one label where {self.separator!r} stands between labels; "
                    f"say separator: {mark!r}, or write it without"
                )

    def target(self, label: tuple[str, ...], names: Sequence[str]) -> tuple[float, ...]:
        """A 1 for each label that the input has."""
        return tuple(float(name in label) for name in names)

    def used(self, target: Sequence[float], names: Sequence[str]) -> set[str]:
        return {name for name, there in zip(names, target, strict=True) if there}

    def strata(self, targets: Sequence[tuple[float, ...]]) -> list[int]:
        """The rarest label of each sample."""
        counts = [sum(column) for column in zip(*targets, strict=True)]
        return [
            min((at for at, value in enumerate(one) if value), key=lambda at: counts[at], default=len(one))
            for one in targets
        ]

    def check(self, targets: Mapping[str, Sequence[tuple[float, ...]]], names: Sequence[str]) -> list[str]:
        """Refuses labels that no training sample has, or all have."""
        count = [sum(one[at] for one in targets["train"]) for at in range(len(names))]
        none = [name for name, n in zip(names, count, strict=True) if not n]
        every = [name for name, n in zip(names, count, strict=True) if n == len(targets["train"])]
        said = [named_all("labels that no training sample has", none)] if none else []
        said += [named_all("labels that every training sample has", every)] if every else []
        return [f"{one}: add samples, or take these labels out" for one in said]

    def check_rows(self, outputs: Tensor, targets: Tensor, name: str) -> None:
        finite(outputs, targets, name)
        if targets.numel() and (float(targets.min()) < 0 or float(targets.max()) > 1):
            raise TargetError(
                f"task {name!r}: targets of labels must be from 0 to 1, found {float(targets.min()):g} to "
                f"{float(targets.max()):g}"
            )

    def aligned(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Targets as floats, in the outputs' shape."""
        return outputs, targets.reshape(outputs.shape).to(outputs.dtype)

    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """F1 over the labels of each sample; 1 if it has none and none is predicted."""
        outputs, targets = self.aligned(outputs, targets)
        said = (outputs.sigmoid() >= self.threshold).to(targets.dtype)
        both, all_of = (said * targets).flatten(1).sum(1), (said + targets).flatten(1).sum(1)
        return {"f1": (2 * both / all_of.clamp_min(1)).where(all_of > 0, all_of.new_ones(()))}

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        outputs, wanted = outputs.reshape(len(outputs), -1), targets.reshape(len(targets), -1) >= 0.5
        said, library = outputs.sigmoid() >= self.threshold, metrics("torchmetrics.functional.classification")
        both, all_of = (said & wanted).sum(0).double(), said.sum(0).double() + wanted.sum(0).double()
        known = all_of > 0
        ranked = [at for at, n in enumerate(wanted.sum(0).tolist()) if n > 0]
        precision = [float(library.binary_average_precision(outputs[:, at], wanted[:, at].long())) for at in ranked]
        return {
            "macro_f1": float((2 * both / all_of)[known].mean()) if bool(known.any()) else math.nan,
            "micro_f1": float(2 * both.sum() / all_of.sum()) if bool(known.any()) else math.nan,
            "average_precision": sum(precision) / len(precision) if precision else math.nan,
            "exact_match": float((said == wanted).all(1).double().mean()),
        }

    def doubt(self, scores: Mapping[str, float]) -> str:
        """A threshold without any answer."""
        return "" if scores.get("micro_f1", 1.0) else "no label is answered rightly for any sample"

    def answer(self, output: Tensor, names: Sequence[str], top: int = 0) -> dict[str, Any]:
        """The labels from the threshold on, and the probability of each."""
        del top
        called = names or [str(at) for at in range(output.numel())]
        each = dict(zip(called, output.flatten().sigmoid().tolist(), strict=True))
        labels = [name for name, probability in each.items() if probability >= self.threshold]
        return {"labels": labels, "probabilities": each, "said": ", ".join(labels) or "none"}

    def said(self, target: Sequence[float], names: Sequence[str]) -> str:
        return ", ".join(name for name, there in zip(names, target, strict=True) if there) or "none"


def _yes(cell: object, column: str) -> bool:
    text = str("" if cell is None else cell).strip().lower()
    if text not in YES | NO:
        raise TargetError(f"{column} must be 0 or 1, found {cell!r}; labels of one column have a separator between")
    return text in YES

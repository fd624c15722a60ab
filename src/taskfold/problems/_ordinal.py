from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ._base import Loss, TargetError
from ._classification import Classification, in_order, is_whole
from ._library import metrics

__all__ = ["Ordinal"]


def sord(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with targets that are softmax(−(level − target)²): a level beside the right one is half right.

    Díaz and Marathe, "Soft labels for ordinal regression" (CVPR 2019).

    Args:
        outputs: `[B, levels]`.
        targets: `[B]`, integers.

    Returns:
        `[B]`.
    """
    levels = torch.arange(outputs.shape[1], device=outputs.device)
    soft = (-(levels - targets[:, None]).square().to(outputs.dtype)).softmax(1)
    return F.cross_entropy(outputs, soft, reduction="none")


@dataclass(frozen=True, kw_only=True)
class Ordinal(Classification):
    """One of several levels with an order: an output for each level; a near miss costs less than a far one.

    Attributes:
        order: the levels from the lowest to the highest; empty: the labels are integers.

    Example:
        >>> problem, names = Ordinal(order=("poor", "fair", "good")).fitted(["good", "poor", "fair"])
        >>> names, problem.target("good", names)
        (('poor', 'fair', 'good'), 2)
    """

    kind: ClassVar[str] = "ordinal"
    words: ClassVar[str] = "levels in an order"
    losses: ClassVar[Mapping[str, Loss]] = {"sord": sord, "cross-entropy": F.cross_entropy}
    select_by: ClassVar[tuple[str, ...]] = (*Classification.select_by, "levels_off", "kappa")
    better: ClassVar[Mapping[str, bool]] = {"accuracy": True, "levels_off": False, "kappa": True}
    titles: ClassVar[Mapping[str, str]] = {"levels_off": "levels off", "kappa": "quadratic kappa"}

    order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({*self.order}) < len(self.order) or len(self.order) == 1:
            raise ValueError(f"order must be two levels or more, none twice, found {list(self.order)}")

    def fitted(self, labels: Sequence[str]) -> tuple[Self, tuple[str, ...]]:
        found = set(labels)
        if self.order and (odd := sorted(found - {*self.order})):
            raise TargetError(f"{odd[0]!r} is none of the levels of problem.order: {', '.join(self.order)}")
        if not self.order and not all(map(is_whole, found)):
            raise TargetError(
                f"levels that are no whole numbers have no order of their own, found {', '.join(sorted(found)[:4])}; "
                "list them from the lowest to the highest: problem: {kind: ordinal, order: […]}"
            )
        order = self.order or in_order(labels)
        if not self.order and len({*map(int, order)}) < len(order):
            raise TargetError(
                f"levels must be different numbers, found {', '.join(order)}; write each number in one way"
            )
        return replace(self, order=order), order

    def measures(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Accuracy, and the mean distance in levels."""
        return super().measures(outputs, targets) | {"levels_off": (outputs.argmax(1) - targets).abs().float()}

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        said, library = outputs.argmax(1), metrics("torchmetrics.functional.classification")
        levels = outputs.shape[1]
        # with a single level, always predicted, agreement by chance is perfect
        one = len({*said.tolist(), *targets.tolist()}) == 1
        kappa = math.nan if one else float(library.multiclass_cohen_kappa(said, targets, levels, weights="quadratic"))
        off = float((said - targets).abs().double().mean())
        return {**super()._scores(outputs, targets), "levels_off": off, "kappa": kappa}

    def doubt(self, scores: Mapping[str, float]) -> str:
        """Kappa of 0 is that of random answers."""
        if scores.get("kappa", 1.0) > 0:
            return ""
        return f"quadratic kappa {scores['kappa']:.2f} is no better than answers by chance, which have 0"

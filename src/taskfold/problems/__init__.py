"""Problems, the meanings of a task's outputs: classes, numbers, labels, levels, a class for each word.

A new kind is one file with a subclass of `Problem`, and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import nn

from ._base import Cells, Loss, Metric, Problem, TargetError, first_not_finite
from ._classification import Classification, check_indices
from ._multi_label import MultiLabel
from ._ordinal import Ordinal
from ._regression import Regression
from ._token_classification import IGNORED, TokenClassification

PROBLEMS: Mapping[str, type[Problem]] = {
    one.kind: one for one in (Classification, Regression, MultiLabel, Ordinal, TokenClassification)
}
"""The problems by kind."""

_OF_NUMBERS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)
_OF_LABELS = (F.binary_cross_entropy_with_logits, F.multilabel_soft_margin_loss)
_MODULES_OF_NUMBERS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
_MODULES_OF_LABELS = (nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss)


def problem_of(said: Mapping[str, Any], name: str) -> Problem:
    """The problem of a task from `task.info.problem`; without one classification.

    Raises:
        ValueError: it names an unknown kind or setting; the message has the task.

    Example:
        >>> problem_of({"kind": "multi-label", "threshold": 0.3}, "tags").threshold
        0.3
    """
    if not said:
        return Classification()
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in said.items() if key != "kind"
    }
    try:
        return PROBLEMS[str(said.get("kind"))](**settings)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"task {name!r}: what it says of its problem cannot be used here ({error}); it was saved by another "
            "version of taskfold, or by hand"
        ) from None


def problem_for(loss: Loss | None) -> Problem:
    """The problem that a loss implies: torch's losses of numbers and of labels imply theirs, others classification.

    Example:
        >>> problem_for(F.mse_loss).kind, problem_for(nn.BCEWithLogitsLoss()).kind, problem_for(None).kind
        ('regression', 'multi-label', 'classification')
    """
    if loss in _OF_NUMBERS or isinstance(loss, _MODULES_OF_NUMBERS):
        return Regression(loss=loss)
    if loss in _OF_LABELS or isinstance(loss, _MODULES_OF_LABELS):
        return MultiLabel(loss=loss)
    return Classification(loss=loss)


__all__ = [
    "IGNORED",
    "PROBLEMS",
    "Cells",
    "Classification",
    "Loss",
    "Metric",
    "MultiLabel",
    "Ordinal",
    "Problem",
    "Regression",
    "TargetError",
    "TokenClassification",
    "check_indices",
    "first_not_finite",
    "problem_for",
    "problem_of",
]

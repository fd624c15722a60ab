"""Scores of a classification, compared with always answering the largest class, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["better", "no better", "undecided"]
"""The comparison with always answering the largest class; `undecided`: there are too few samples."""

Z = 1.959964
"""The standard normal distribution has 95 % between −Z and Z."""


def wilson(right: float, count: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): `right` of `count` > 0 answers.

    Example:
        >>> [round(edge, 3) for edge in wilson(8, 10)]
        [0.49, 0.943]
    """
    share, weight = right / count, Z * Z / count
    centre, half = share + weight / 2, Z * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, (centre - half) / (1 + weight)), min(1.0, (centre + half) / (1 + weight))


def balanced(recall: Sequence[float | None]) -> float:
    """The mean recall of the classes that have images."""
    known = [one for one in recall if one is not None]
    return sum(known) / len(known)


def macro_f1(confusion: Sequence[Sequence[int]]) -> float:
    """The mean over classes of 2 · true positives / (images of the class + predictions of the class).

    Classes without images and predictions are left out.

    Example:
        >>> round(macro_f1([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), 4)  # 6/7 and 8/9
        0.873
    """
    answers = [sum(row[c] for row in confusion) for c in range(len(confusion))]
    found = [2 * row[c] / (sum(row) + answers[c]) for c, row in enumerate(confusion) if sum(row) + answers[c]]
    return sum(found) / len(found)


def uneven(confusion: Sequence[Sequence[int]]) -> bool:
    """Whether the largest class has at least twice the images of the smallest that has any.

    Example:
        >>> uneven([[138, 0], [57, 0]]), uneven([[40, 20], [0, 50]])
        (True, False)
    """
    present = [sum(row) for row in confusion if sum(row)]
    return max(present) >= 2 * min(present)


def class_scores(confusion: Sequence[Sequence[int]]) -> dict[str, float]:
    """Balanced accuracy, macro-F1, and the accuracy of always answering the largest class.

    Args:
        confusion: `confusion[true][predicted]` images, at least one.

    Example:
        >>> class_scores([[3, 0], [1, 0]])
        {'balanced_accuracy': 0.5, 'macro_f1': 0.42857142857142855, 'majority': 0.75}
    """
    present = [sum(row) for row in confusion]
    recall = [row[c] / n if n else None for c, (row, n) in enumerate(zip(confusion, present, strict=True))]
    return {
        "balanced_accuracy": balanced(recall),
        "macro_f1": macro_f1(confusion),
        "majority": max(present) / sum(present),
    }


def verdict(confusion: Sequence[Sequence[int]]) -> Verdict:
    """Whether a classifier is better than always answering the largest class.

    It is better if the lower end of accuracy's 95 % interval is above the share of the largest class, or that of
    balanced accuracy above 1 / classes. It is no better if neither number itself is above. Else there are too few
    images to decide.

    Args:
        confusion: `confusion[true][predicted]` images, at least one.

    Example:
        >>> verdict([[138, 0], [57, 0]])  # finds none of 57 defects, 71 % right
        'no better'
        >>> verdict([[130, 8], [17, 40]]), verdict([[3, 1], [1, 2]])
        ('better', 'undecided')
    """
    present = [(row[c], sum(row)) for c, row in enumerate(confusion) if sum(row)]
    right, count = sum(hits for hits, _ in present), sum(images for _, images in present)
    largest, chance = max(images for _, images in present) / count, 1 / len(present)
    mean = sum(hits / images for hits, images in present) / len(present)
    # Agresti and Coull (1998): a recall of 0 or 1 is not certain.
    shrunk = [((hits + Z * Z / 2) / (images + Z * Z), images + Z * Z) for hits, images in present]
    spread = math.sqrt(sum(share * (1 - share) / images for share, images in shrunk)) / len(present)
    if wilson(right, count)[0] > largest or mean - Z * spread > chance:
        return "better"
    return "undecided" if right / count > largest or mean > chance else "no better"

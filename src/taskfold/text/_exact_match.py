from __future__ import annotations

import re
import string
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(predictions: Sequence[str], targets: Sequence[str], *, normalised: bool = False) -> float:
    """The share of predictions equal to their target, in [0, 1]; spaces at the ends do not count.

    Args:
        predictions: the generated texts.
        targets: the right texts, as many.
        normalised: as in SQuAD: capitals, ASCII punctuation, English articles and runs of spaces do not count either.

    Raises:
        ValueError: there are none, or their numbers differ.

    Example:
        >>> exact_match(["The cat.", " dog"], ["cat", "dog"])
        0.5
        >>> exact_match(["The cat.", " dog"], ["cat", "dog"], normalised=True)
        1.0
    """
    if len(predictions) != len(targets) or not targets:
        raise ValueError(
            f"predictions and targets must be as many, and some; found {len(predictions)} and {len(targets)}"
        )
    clean = _normalised if normalised else str.strip
    return sum(clean(guess) == clean(true) for guess, true in zip(predictions, targets, strict=True)) / len(targets)


def _normalised(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.casefold().translate(_PUNCTUATION)).split())

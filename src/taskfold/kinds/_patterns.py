"""Shell patterns over layer names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

Patterns = str | Sequence[str]
"""Shell patterns over layer names (`layer3.*`); one that begins with `!` leaves layers out."""


def matches(path: str, patterns: Patterns) -> bool:
    """Whether a layer name is selected: by some pattern, and left out by none.

    Example:
        >>> matches("layer4.0.conv1", ["layer*", "!layer4.*"])
        False
    """
    every = [patterns] if isinstance(patterns, str) else list(patterns)
    wanted = [p for p in every if not p.startswith("!")] or ["*"]
    unwanted = [p[1:] for p in every if p.startswith("!")]
    return any(fnmatchcase(path, p) for p in wanted) and not any(fnmatchcase(path, p) for p in unwanted)

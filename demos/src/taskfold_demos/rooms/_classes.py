"""The classes of a rendered room: the 13 of NYUv2, under NYUv2's numbers."""

from __future__ import annotations

CLASSES = (
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
IGNORE = -1


def number(name: str) -> int:
    """A class's number, 0 to 12.

    Example:
        >>> number("bed"), number("window")
        (0, 12)
    """
    return CLASSES.index(name)

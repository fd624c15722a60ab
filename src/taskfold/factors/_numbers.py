"""Checks of numbers among settings."""

from __future__ import annotations

from collections.abc import Callable

import torch

LARGEST = torch.finfo(torch.float32).max


def check_number(name: str, value: object, rule: str, holds: Callable[[float], bool]) -> None:
    """Checks that a setting is a finite number in single precision, and satisfies a rule.

    Args:
        name: the setting's name.
        value: the given value.
        rule: the rule in words.
        holds: the rule as a function.

    Raises:
        ValueError: the value is not such a number.

    Example:
        >>> check_number("share", 2.0, "above 0 and up to 1", lambda share: 0 < share <= 1)
        Traceback (most recent call last):
        ValueError: share must be a finite number above 0 and up to 1, found 2.0
    """
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not abs(number) <= LARGEST or not holds(number):
        raise ValueError(f"{name} must be a finite number {rule}, found {value!r}")


def check_whole(name: str, value: object, least: int, most: int | None = None, also: str = "") -> int:
    """Checks that a setting is an integer in a range.

    Args:
        name: the setting's name.
        value: the given value.
        least, most: the range, both included; None: no upper limit.
        also: other allowed values, in words.

    Returns:
        The number.

    Raises:
        ValueError: the value is not an integer, or out of the range.

    Example:
        >>> check_whole("terms", 2, 1), check_whole("stages", 5, 1, 5)
        (2, 5)
        >>> check_whole("terms", True, 1)
        Traceback (most recent call last):
        ValueError: terms must be a whole number ≥ 1, found True
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most):
        return value
    rule = f"≥ {least}" if most is None else f"{least} to {most}"
    raise ValueError(f"{name} must be a whole number {rule}{also}, found {value!r}")

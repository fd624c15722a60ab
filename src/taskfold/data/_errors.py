"""Errors of data, with remedies."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class DataError(ValueError):
    """Data that cannot be trained on: the message names the place, the value found and the remedy."""


class MissingDataError(FileNotFoundError):
    """A folder, file or package is missing: the message has the place."""


class UnreadableImageError(OSError):
    """An image file that cannot be decoded: corrupt, truncated, or not an image."""


class MissingExtraError(ImportError):
    """An optional package is not installed: the message says how to install it."""


def require(module: str, install: str) -> ModuleType:
    """An optional module, or an error that says how to install it.

    Args:
        module: its import name.
        install: the argument of `pip install`.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{module} cannot be imported ({error}): pip install {install}") from error


def first_few(items: Iterable[object], limit: int = 5) -> str:
    """The first items in words, and the number of further ones.

    Example:
        >>> first_few("abcdefg")
        'a, b, c, d, e and 2 more'
    """
    found = [str(item) for item in items]
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more

"""Names of tasks, which also name parameters and files on any system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

MOST = 240
"""The most bytes of a name in UTF-8: a file's name has at most 255, its suffix included."""
_MARKS = frozenset('./\\<>:"|?*')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*", re.IGNORECASE)
"""Names under which Windows opens a device, with any suffix."""


def check_name(name: object) -> str:
    """Checks a task's name: 1 to 100 printable characters, at most 240 bytes, valid as a file name on any system.

    Raises:
        ValueError, TypeError: the name breaks that rule.
    """
    if not isinstance(name, str):
        raise TypeError(f"a task's name must be text, found {type(name).__name__} {name!r}")
    if not 0 < len(name) <= 100 or not name.isprintable() or set(name) & _MARKS or name != name.strip():
        raise ValueError(
            f"task name {name!r} is not allowed: 1 to 100 printable characters, no dots, slashes, outer spaces or any "
            "of <>:\"|?* (it names parameters and files); use '-' or '_' instead"
        )
    if (size := len(name.encode())) > MOST:
        raise ValueError(
            f"task name {name!r} is not allowed: it names files, and has {size} bytes where they have room for {MOST}; "
            "choose a shorter one"
        )
    if _DEVICE.fullmatch(name):
        raise ValueError(
            f"task name {name!r} is not allowed: it names files, and Windows keeps it for a device; choose another, "
            f"such as {name.strip() + '-task'!r}"
        )
    return name


@lru_cache(1 << 16)
def as_file(name: str) -> str:
    """A key, equal for names that some system takes for one file: it ignores case and composition of letters.

    Example:
        >>> as_file("Cars") == as_file("cars"), as_file("caf\u00e9") == as_file("cafe\u0301")
        (True, True)
    """
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", folded))


def check_free(name: object, taken: Iterable[str], remedy: str) -> str:
    """Checks a new task's name: no other task may have it, nor one that differs only in case or composition.

    Args:
        name: checked first.
        taken: the names in use.
        remedy: the remedy if it is one of them, for the message.

    Raises:
        ValueError, TypeError: the name is not allowed, or taken.
    """
    checked = check_name(name)
    wanted = as_file(checked)
    other = next((one for one in taken if as_file(one) == wanted), None)
    if other == checked:
        raise ValueError(f"task {checked!r} exists already; {remedy}")
    if other is not None:
        raise ValueError(
            f"task {checked!r} differs from task {other!r} in the case or composition of letters alone, and their "
            f"files would be one on some systems; {remedy}"
        )
    return checked

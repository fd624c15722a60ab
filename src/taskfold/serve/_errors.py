"""Errors that refuse a request."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from typing import Self

FEW, LONGEST = 500, 100
"""The most names that a misspelt name is compared with, and the most of its letters that are."""


class ServeError(Exception):
    """A refused request.

    Attributes:
        status: the HTTP status.
    """

    status = 400


class InputError(ServeError):
    """The caller's input cannot be read, or breaks a rule."""


class TooLargeError(ServeError):
    """The caller's input is above a limit."""

    status = 413


class UnservableError(ServeError):
    """A task file that cannot be served here."""

    status = 422


class UnknownTaskError(ServeError):
    """No task has that name. The message names the nearest one."""

    status = 404

    @classmethod
    def of(cls, name: str, known: Sequence[str]) -> Self:
        """The error for a name, given the known names."""
        alike = known
        if len(known) > FEW:  # comparing takes long, and any client may send such names
            alike = [one for one in known if one[:2].casefold() == name[:2].casefold()][:FEW]
        name = unicodedata.normalize("NFC", name)
        near = difflib.get_close_matches(name[:LONGEST], alike, 1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return cls(f"task {name!r:.120} is not served here, {len(known)} others are{hint}")


class TakenError(ServeError):
    """Another task has that name."""

    status = 409


class BusyError(ServeError):
    """As many rows wait as may wait.

    Args:
        message: the message.
        retry_after: seconds after which the client should ask again.
    """

    status = 503

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LateError(ServeError):
    """The deadline came before the answer."""

    status = 504


class FailedError(ServeError):
    """The network has failed on an input that was read without an error."""

    status = 500


class DiskError(ServeError):
    """The disk has refused a change, or a part of it."""

    status = 507


class ClosedError(ServeError):
    """The server is stopping."""

    status = 503

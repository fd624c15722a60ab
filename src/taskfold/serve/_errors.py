"""Why a request gets no answer."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from typing import Self

FEW, LONGEST = 500, 100
"""Names that a misspelt one is compared with, and its letters that are, at most."""


class ServeError(Exception):
    """A request that is refused.

    Attributes:
        status: the HTTP status that says so.
    """

    status = 400


class InputError(ServeError):
    """The caller's input cannot be read, or breaks a rule."""


class TooLargeError(ServeError):
    """The caller's input is above a limit."""

    status = 413


class UnfitError(ServeError):
    """A task file that cannot be served here."""

    status = 422


class UnknownTaskError(ServeError):
    """No task has that name. The message names the nearest one."""

    status = 404

    @classmethod
    def of(cls, name: str, known: Sequence[str]) -> Self:
        """For a name, among those that there are."""
        alike = known
        if len(known) > FEW:  # comparing takes long, and anybody may ask
            alike = [one for one in known if one[:2].casefold() == name[:2].casefold()][:FEW]
        name = unicodedata.normalize("NFC", name)
        near = difflib.get_close_matches(name[:LONGEST], alike, 1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return cls(f"task {name!r:.120} is not served here, {len(known)} others are{hint}")


class TakenError(ServeError):
    """A task has that name already."""

    status = 409


class BusyError(ServeError):
    """As many rows wait as may wait.

    Args:
        message: says so.
        retry_after: seconds after which it pays to ask again.
    """

    status = 503

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LateError(ServeError):
    """The deadline came before the answer."""

    status = 504


class FailedError(ServeError):
    """The network could not make an answer of the input, which was read without an error."""

    status = 500


class ClosedError(ServeError):
    """The server is stopping."""

    status = 503

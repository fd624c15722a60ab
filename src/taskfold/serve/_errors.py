"""Why a request gets no answer."""

from __future__ import annotations


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

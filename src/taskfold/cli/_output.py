"""Output of commands: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from ..refusals import RefusalError

UNBOUNDED = 400


class UserError(ValueError):
    """An error that the user of the command line can repair."""


FAULTS = (ValueError, OSError, ImportError, RefusalError)
"""Errors of configurations, data and networks: their messages say what the user can repair."""


def echo(text: str) -> None:
    """Print a line of results."""
    typer.echo(text)


def emit(document: Any) -> None:
    """Print one JSON document of results."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


def show(*what: Any) -> None:
    """Print a table or text on standard output; without a terminal nothing is cut."""
    Console(highlight=False, width=None if sys.stdout.isatty() else UNBOUNDED).print(*what)


def say(text: str, style: str = "") -> None:
    """Print a remark on standard error."""
    # Names and messages come from users: no markup, and no line breaks in paths.
    Console(stderr=True, highlight=False).print(Text(text, style=style), soft_wrap=True)


def warned(otherwise: Callable[..., None], message: Warning | str, kind: type[Warning], *more: Any) -> None:
    """A handler like `warnings.showwarning`: Taskfold's warnings are remarks, others are shown as usual."""
    if kind.__module__.partition(".")[0] == "taskfold":
        say(f"Warning: {message}", "yellow")
    else:
        otherwise(message, kind, *more)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print one message in red, and exit."""
    say(f"Error: {message}", "red")
    raise typer.Exit(code)

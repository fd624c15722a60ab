"""Where words go: results to standard output, all else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

UNBOUNDED = 400


class UserError(ValueError):
    """What the user of the command line can repair."""


def echo(text: str) -> None:
    """A line of results."""
    typer.echo(text)


def emit(document: Any) -> None:
    """One JSON document of results."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))


def show(*what: Any) -> None:
    """A table or text for people, on standard output; nothing is cut where no screen has an edge."""
    Console(highlight=False, width=None if sys.stdout.isatty() else UNBOUNDED).print(*what)


def say(text: str, style: str = "") -> None:
    """A remark, on standard error."""
    # Names and messages are the user's: no markup, and paths are not broken over lines.
    Console(stderr=True, highlight=False).print(Text(text, style=style), soft_wrap=True)


def warned(otherwise: Callable[..., None], message: Warning | str, kind: type[Warning], *more: Any) -> None:
    """A warning, as `warnings.showwarning` is given it: one of Taskfold's is a remark, any other is shown as ever."""
    if kind.__module__.partition(".")[0] == "taskfold":
        say(f"Warning: {message}", "yellow")
    else:
        otherwise(message, kind, *more)


def fail(message: str, code: int = 1) -> NoReturn:
    """One message in red, and the end."""
    say(f"Error: {message}", "red")
    raise typer.Exit(code)

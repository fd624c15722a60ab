"""Where words go: results to standard output, all else to standard error."""

from __future__ import annotations

import json
import sys
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


def fail(message: str, code: int = 1) -> NoReturn:
    """One message in red, and the end."""
    say(f"Error: {message}", "red")
    raise typer.Exit(code)

"""The commands by name, and their common parts: help, version, errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .. import __version__, plugins
from ._output import FAULTS, UserError, echo, fail, warned
from ._words import in_words

COMMANDS = {
    "init": "Write a configuration for folders of images.",
    "train": "Train the tasks of a configuration, one by one or together; run it again to resume.",
    "tasks": "List, show, rename, remove, compare and roll back the tasks of a run.",
    "pack": "Write a run into one file for a colleague: tasks, versions, backbone, a README.",
    "unpack": "Write a packed run into a new folder.",
    "affinity": "Measure which tasks help and which hurt one another, and propose groups to train together.",
    "compare": "Compare methods on your tasks: tuned alike, counted alike, with a recommendation.",
    "transfer": "Train new tasks on a few examples, with the inventory of a joint training.",
    "evaluate": "Measure saved tasks on their held-out test data.",
    "predict": "Label images or answer texts with one saved task, or with several at once.",
    "serve": "Answer requests over HTTP for every task of a run, while tasks are added, changed and removed.",
    "count": "Count the parameters of a method on an architecture, exactly, without weights.",
    "export": "Write an ONNX or torch.export network of one task or several, or an adapter in PEFT's format.",
    "import": "Make task files of adapters in PEFT's format.",
    "inspect": "Show what is in a task file, or in an inventory.",
    "schema": "Print the JSON schema of a configuration, for editors.",
    "report": "Turn a results file into a report of one HTML page.",
}
ELSEWHERE = {"demo": "taskfold-demos"}
"""Commands of packages that belong to Taskfold and are optional."""

Load = Callable[[], Callable[..., Any]]


def commands() -> dict[str, tuple[str, Load]]:
    """The commands by name: a line of help, and a loader of the function. Packages add commands."""
    own: dict[str, tuple[str, Load]] = {name: (text, partial(_own, name)) for name, text in COMMANDS.items()}
    absent: dict[str, tuple[str, Load]] = {
        name: (f"Not installed: pip install {package}.", partial(_absent, name, package))
        for name, package in ELSEWHERE.items()
    }
    added: dict[str, tuple[str, Load]] = {
        name: (plugins.summary(entry), partial(plugins.load, entry))
        for name, entry in plugins.registered(plugins.COMMANDS).items()
    }
    return absent | added | own


def _own(name: str) -> Callable[..., Any]:
    own = f"{name}_" if iskeyword(name) else name
    return getattr(import_module(f"{__package__}.{own}"), own)


def _absent(name: str, package: str) -> Callable[..., Any]:
    raise UserError(
        f"taskfold {name} comes with the package {package}: pip install {package}, or ./demos from a checkout of "
        "Taskfold"
    )


class Commands(TyperGroup):
    """A group that imports a command's module only when that command is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=text, callback=None) for name, (text, _) in commands().items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command in place of its summary."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and _imported(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an error that the user can repair ends with one message."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = partial(warned, warnings.showwarning)
                return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except FAULTS as error:
            if ctx.params.get("debug"):
                raise
            fail(in_words(error) or type(error).__name__)


def _imported(name: str) -> Any:
    _, load = commands()[name]
    found = load()
    if isinstance(found, typer.Typer):  # a command with subcommands
        return typer.main.get_command(found)
    single = typer.Typer(add_completion=False)
    single.command(name)(found)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        echo(f"taskfold {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", hidden=True, help="Show where an error comes from.")] = False,
) -> None:
    """Many tasks folded into one frozen network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._output import say
from ._packed import unpack_run


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="The file from taskfold pack.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
) -> None:
    """Write a packed run into a new folder, with every task file checked; use it like an output of taskfold train.

    A pack may hold a Python file that makes the backbone: it runs when the tasks are used. Read it first.
    """
    names = unpack_run(file, folder)
    say(f"{len(names)} tasks are in {folder / 'tasks'}: {', '.join(names[:8])}{' …' if names[8:] else ''}")

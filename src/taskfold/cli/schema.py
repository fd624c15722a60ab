from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..config.schema import schema as schema_of
from ..tasks import write_atomically
from ._output import UserError, emit, say


def schema(
    command: Annotated[
        Literal["train", "transfer", "compare"], typer.Argument(help="Its command: train, transfer, compare.")
    ] = "train",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the schema to this file.")] = None,
) -> None:
    """Print the JSON schema of a configuration, by which editors complete and check its keys.

    In an editor with the YAML language server, the first line of a configuration then names the file:
    # yaml-language-server: $schema=taskfold.json
    """
    found = schema_of(command)
    if output is None:
        emit(found)
        return
    if output.suffix != ".json":
        raise UserError(f"--output must end in .json, so that no other file is replaced by mistake; found {output}")
    write_atomically(output, json.dumps(found, ensure_ascii=False, indent=1).encode())
    say(f"The schema is {output}")

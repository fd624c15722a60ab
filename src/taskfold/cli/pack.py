from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._held import held
from ._output import UserError, say
from ._packed import pack_run


def pack(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The output folder of taskfold train.")],
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The zip file; OUTPUT.zip if not given.")] = None,
) -> None:
    """Write a run into one zip file for a colleague: tasks, versions, inventory, results, backbone, a README.

    The file holds a backbone's local files; of any other backbone its exact name. Every task file has its fingerprint.
    """
    if not output.is_dir():
        raise UserError(f"there is no folder {output}; give the output of taskfold train")
    target = file or output.resolve().with_suffix(".zip")
    if target.suffix != ".zip":
        raise UserError(f"--file must end in .zip, so that no other file is replaced by mistake; found {target}")
    with held(output):
        names = pack_run(output, target)
    size = target.stat().st_size
    say(f"{len(names)} tasks are in {target} ({size:,} bytes); to use them: taskfold unpack {target} DIR")

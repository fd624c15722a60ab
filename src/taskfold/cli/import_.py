from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._output import UserError, emit, say
from ._tasks import SUFFIX, WeightsOption, load_tasks


def import_(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDERS…", help="Folders that PEFT saved adapters to.")],
    backbone: Annotated[str, typer.Option(help="The network that the adapters were trained on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for task files, one each.")],
    weights: WeightsOption = None,
    task_id: Annotated[int | None, typer.Option(help="Which task of an adapter that holds several (POLY).")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make task files of adapters in PEFT's format; each task has its folder's name.

    taskfold import adapters/french adapters/legal --backbone hf:gpt2 --output tasks
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is no folder; name another")
    model, _ = load_tasks(backbone, weights, ())
    files = {}
    for folder in folders:
        task = model.load_peft(folder, task_id=task_id)
        files[task.name] = output / f"{task.name}{SUFFIX}"
    output.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        model.save_task(name, file)
        if not json:
            say(f"Wrote {file}: {model[name].method['name']}, {sum(model[name].counts().values()):,} numbers.")
    if json:
        emit({name: str(file) for name, file in files.items()})

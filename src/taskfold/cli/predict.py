from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..config import words_of
from ..threads import Threads, chosen, in_words, parsed
from ._asked import ROWS, Asked
from ._output import UserError, emit, say, show
from ._prepare import ready_kind
from ._tasks import SUFFIX, BackboneOption, InventoryOption, WeightsOption, best_device, kind_of, load_tasks
from ._threads import ThreadsOption


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="TASKFILES… INPUTS…", help="Task files (.safetensors); images and folders, or texts."),
    ],
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    inventory: InventoryOption = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    lines: Annotated[Path | None, typer.Option(help="A file of texts, one in a line.")] = None,
    choices: Annotated[str | None, typer.Option(help="Rank these answers: 'yes ||| no'.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output folder of dense tasks; default: predictions/.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=f"Rows of one forward pass, of images or texts; {ROWS} if not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    threads: ThreadsOption = None,
) -> None:
    """Label images, answer texts, or predict every pixel: every input with every task.

    taskfold predict flowers.safetensors cars.safetensors photo.jpg --backbone timm:resnet50

    taskfold predict dutch.safetensors liep huizen

    taskfold predict depth.safetensors normals.safetensors photos/ --output maps
    """
    files = [Path(one) for one in inputs if one.endswith(SUFFIX)]
    model, loaded = load_tasks(backbone, weights, files, inventory) if files else _no_tasks(inputs)
    names = [model[name].name for name in task or model.tasks]
    kinds = {kind_of(model[name]) for name in names}
    if len(kinds) > 1:
        words = " and for ".join(sorted(map(words_of, kinds)))
        raise UserError(f"tasks are for {words}; choose those of one kind with --task")
    [kind] = kinds
    given = [one for one in inputs if not one.endswith(SUFFIX)]
    measured = Threads.of(chosen(parsed(threads)), best_device())
    measured.said = lambda found: say(in_words(found), "dim")
    asked = Asked(model, loaded, names, given, measured, batch_size, lines, choices, output)
    with measured, measured.over(model):
        found, errors, table = ready_kind(kind).predict(asked)
    if json:
        emit({"predictions": found, "errors": errors})
    elif found:
        show(table(found))
    for problem in errors:
        say(problem["error"], "red")
    if errors:
        raise typer.Exit(1)


def _no_tasks(inputs: list[str]) -> NoReturn:
    found = ", ".join(inputs[:5]) + " …" * (len(inputs) > 5)
    raise UserError(f"give at least one task file (*{SUFFIX}, in a run's tasks), found {found}")

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ._images import ImageTask
from ._output import UserError, emit, say, show
from ._predict_images import image_table, label_images
from ._predict_texts import answer_texts, choices_of, inputs_of, text_table
from ._tasks import SUFFIX, kind_of, load_tasks


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="TASKFILES… INPUTS…", help="Task files (.safetensors); images and folders, or texts."),
    ],
    backbone: Annotated[
        str | None, typer.Option(help="The backbone that the tasks were trained on, if not as noted beside them.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A local file of the backbone's weights.")] = None,
    inventory: Annotated[
        Path | None, typer.Option(help="For tasks that share one: its file, if not beside them.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    lines: Annotated[Path | None, typer.Option(help="A file of texts, one in a line.")] = None,
    choices: Annotated[str | None, typer.Option(help="Rank these answers: 'yes ||| no'.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of one forward pass.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Label images, or answer texts: every input for every task.

    taskfold predict flowers.safetensors cars.safetensors photo.jpg --backbone timm:resnet50

    taskfold predict dutch.safetensors liep huizen
    """
    files = [Path(one) for one in inputs if one.endswith(SUFFIX)]
    model, loaded = load_tasks(backbone, weights, files, inventory) if files else _no_tasks(inputs)
    names = [model[name].name for name in task or model.tasks]
    kinds = {kind_of(model[name]) for name in names}
    if len(kinds) > 1:
        raise UserError(f"tasks are for {' and for '.join(sorted(kinds))}; choose those of one kind with --task")
    given = [one for one in inputs if not one.endswith(SUFFIX)]
    if kinds == {ImageTask.kind}:
        if lines or choices:
            raise UserError("--lines and --choices are for tasks of texts, and these are for images; leave them out")
        if not given:
            raise UserError(f"give at least one image, found {', '.join(inputs)}")
        found, errors = label_images(model, loaded, names, [Path(one) for one in given], batch_size)
    else:
        texts = inputs_of(given, lines)
        if not texts:
            raise UserError(f"give at least one text, or a file of them with --lines, found {', '.join(inputs)}")
        found, errors = answer_texts(model, loaded, names, texts, choices_of(choices), batch_size), []
    if json:
        emit({"predictions": found, "errors": errors})
    elif found:
        show((image_table if kinds == {ImageTask.kind} else text_table)(found))
    for problem in errors:
        say(problem["error"], "red")
    if errors:
        raise typer.Exit(1)


def _no_tasks(inputs: list[str]) -> NoReturn:
    raise UserError(f"give at least one task file (*{SUFFIX}), found {', '.join(inputs)}")

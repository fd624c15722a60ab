from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..config import words_of
from ..threads import Threads, chosen, in_words, parsed
from ._output import UserError, emit, say, show
from ._predict_images import image_table, label_images
from ._predict_texts import answer_texts, choices_of, inputs_of, text_table
from ._tasks import SUFFIX, BackboneOption, InventoryOption, WeightsOption, best_device, kind_of, load_tasks
from ._threads import ThreadsOption

ROWS = 32


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
        Path | None,
        typer.Option("--output", "-o", help="Where tasks of dense targets write; predictions/ if not given."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=f"Rows of one forward pass, of images or texts; {ROWS} if not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    threads: ThreadsOption = None,
) -> None:
    """Label images, answer texts, or say of every pixel what it is: every input for every task.

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
        found, errors, table = WAYS[kind](asked)
    if json:
        emit({"predictions": found, "errors": errors})
    elif found:
        show(table(found))
    for problem in errors:
        say(problem["error"], "red")
    if errors:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Asked:
    """What was given, and what to do with it."""

    model: MultiTask
    loaded: LoadedBackbone
    names: list[str]
    inputs: list[str]
    threads: Threads
    batch_size: int | None
    lines: Path | None
    choices: str | None
    output: Path | None

    def refuse(self, kind: str, **meant: str) -> None:
        """Options that are for other kinds of data.

        Args:
            kind: of the tasks.
            meant: option → the kind that it is for.
        """
        for option, whose in meant.items():
            if getattr(self, option) is not None:
                name = option.replace("_", "-")
                raise UserError(f"--{name} is for tasks of {whose}, and these are for {words_of(kind)}; leave it out")

    def images(self) -> list[Path]:
        """The inputs, at least one."""
        if not self.inputs:
            raise UserError(f"give at least one image, found none beside the task files of {', '.join(self.names)}")
        return [Path(one) for one in self.inputs]


Found = tuple[list[dict[str, Any]], list[dict[str, str]], Callable[[Sequence[dict[str, Any]]], Table]]


def _images(asked: Asked) -> Found:
    asked.refuse("images", lines="texts", choices="texts", output="dense targets")
    return *label_images(asked.model, asked.loaded, asked.names, asked.images(), asked.batch_size or ROWS), image_table


def _texts(asked: Asked) -> Found:
    asked.refuse("texts", output="dense targets")
    texts = inputs_of(asked.inputs, asked.lines)
    if not texts:
        raise UserError("give at least one text, or a file of them with --lines, found none beside the task files")
    choices, size = choices_of(asked.choices), asked.batch_size or ROWS
    return answer_texts(asked.model, asked.loaded, asked.names, texts, choices, size, asked.threads), [], text_table


def _dense(asked: Asked) -> Found:
    from ._predict_dense import draw_images, map_table  # noqa: PLC0415  an extra, and seconds to import

    asked.refuse("dense", lines="texts", choices="texts", batch_size="images and texts")
    output = asked.output or Path("predictions")
    return *draw_images(asked.model, asked.names, asked.images(), output), map_table


WAYS: Mapping[str, Callable[[Asked], Found]] = {"images": _images, "texts": _texts, "dense": _dense}
"""What is done with inputs, by the tasks' kind of data."""


def _no_tasks(inputs: list[str]) -> NoReturn:
    raise UserError(f"give at least one task file (*{SUFFIX}), found {', '.join(inputs)}")

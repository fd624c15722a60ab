from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from PIL import Image
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor

from .. import MultiTask
from ..data import MissingDataError, UnreadableImageError, open_image
from ._output import UserError, emit, say, show
from ._tasks import SUFFIX, best_device, label_of, load_tasks, preprocessing_of


class Row(NamedTuple):
    """One image for one task."""

    image: Path
    task: str
    pixels: Tensor


def predict(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="TASKFILES… IMAGES…", help="Task files (.safetensors), images, folders of images."),
    ],
    backbone: Annotated[str, typer.Option(help="The backbone that the tasks were trained on, such as timm:resnet50.")],
    weights: Annotated[Path | None, typer.Option(help="A local file of the backbone's weights.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows of one forward pass.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Label images: every image for every task, rows of several tasks in one forward pass.

    taskfold predict flowers.safetensors cars.safetensors photo.jpg --backbone timm:resnet50
    """
    model, loaded = load_tasks(backbone, weights, [path for path in files if path.suffix == SUFFIX])
    images = list(_images(path for path in files if path.suffix != SUFFIX))
    for given, what in ((list(model.tasks), f"task file (*{SUFFIX})"), (images, "image")):
        if not given:
            raise UserError(f"give at least one {what}, found {', '.join(map(str, files))}")
    transforms = {name: preprocessing_of(model[name], loaded).transform(train=False) for name in task or model.tasks}
    errors: list[dict[str, str]] = []

    def rows() -> Iterator[Row]:
        for path in images:
            if (image := _open(path, errors)) is not None:
                yield from (Row(path, name, transform(image)) for name, transform in transforms.items())

    found = [answer for batch in _batches(rows(), batch_size) for answer in _answers(model, batch)]
    _print(found, errors, json)


def _images(paths: Iterable[Path]) -> Iterator[Path]:
    known = set(Image.registered_extensions())
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in known)
            if not inside:
                raise UserError(f"folder {str(path)!r} holds no images")
            yield from inside
        else:
            yield path


def _open(path: Path, errors: list[dict[str, str]]) -> Image.Image | None:
    try:
        return open_image(path)
    except (UnreadableImageError, MissingDataError) as error:
        errors.append({"image": str(path), "error": str(error)})
        return None


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Rows of one shape, at most `size` together, without reading far ahead."""
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == size:
            yield from _by_shape(waiting)
            waiting = []
    yield from _by_shape(waiting)


def _by_shape(rows: list[Row]) -> Iterator[list[Row]]:
    def shape(row: Row) -> list[int]:
        return list(row.pixels.shape)

    for _, same in groupby(sorted(rows, key=shape), shape):
        yield list(same)


@torch.no_grad()
def _answers(model: MultiTask, batch: list[Row]) -> Iterator[dict[str, Any]]:
    pixels = torch.stack([row.pixels for row in batch]).to(best_device())
    outputs = model(pixels, task=[row.task for row in batch])
    for row, output in zip(batch, outputs, strict=True):
        probability, index = output.float().softmax(-1).max(-1)
        label = label_of(model[row.task], int(index))
        yield {"image": str(row.image), "task": row.task, "label": label, "probability": float(probability)}


def _print(found: list[dict[str, Any]], errors: list[dict[str, str]], json: bool) -> None:
    if json:
        emit({"predictions": found, "errors": errors})
    elif found:
        table = Table("image", "task", "label", "probability", box=box.SIMPLE)
        table.columns[0].overflow = "fold"
        for answer in found:
            probability = f"{answer['probability']:.1%}"
            table.add_row(Text(answer["image"]), Text(answer["task"]), Text(answer["label"]), probability)
        show(table)
    for problem in errors:
        say(problem["error"], "red")
    if errors:
        raise typer.Exit(1)

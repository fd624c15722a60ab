"""Predictions for images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from rich import box
from rich.table import Table
from rich.text import Text
from torch import Tensor

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..data import MissingDataError, UnreadableImageError, image_suffixes, open_image
from ..problems import problem_of
from ._output import UserError
from ._preprocessed import preprocessing_of
from ._tasks import best_device


class Row(NamedTuple):
    """The prediction of a task for an image."""

    image: Path
    task: str
    pixels: Tensor


Answers = tuple[list[dict[str, Any]], list[dict[str, str]]]


def label_images(
    model: MultiTask, loaded: LoadedBackbone, names: Sequence[str], paths: Sequence[Path], batch_size: int
) -> Answers:
    """The predictions of every task for every image, and the unreadable images."""
    images = list(_images(paths))
    transforms = {name: preprocessing_of(model[name], loaded).transform(train=False) for name in names}
    errors: list[dict[str, str]] = []

    def rows() -> Iterator[Row]:
        for path in images:
            if (image := _open(path, errors)) is not None:
                yield from (Row(path, name, transform(image)) for name, transform in transforms.items())

    return [answer for batch in _batches(rows(), batch_size) for answer in _answers(model, batch)], errors


def image_table(found: Sequence[dict[str, Any]]) -> Table:
    table = Table("image", "task", "answer", "probability", box=box.SIMPLE)
    table.columns[0].overflow = "fold"
    for answer in found:
        probability = f"{answer['probability']:.1%}" if "probability" in answer else ""
        table.add_row(Text(answer["image"]), Text(answer["task"]), Text(answer["said"]), probability)
    return table


def _images(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("[!.]*") if file.suffix.lower() in image_suffixes())
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
    """Batches of rows of one shape, at most `size` each, without reading far ahead."""
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
        info = model[row.task].info
        answer = problem_of(info.problem, row.task).answer(output.float().cpu(), info.labels)
        yield {"image": str(row.image), "task": row.task, **answer}

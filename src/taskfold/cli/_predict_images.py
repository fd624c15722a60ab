"""Predictions for images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from .. import MultiTask
from ..data import MissingDataError, UnreadableImageError, image_suffixes, open_image
from ..evaluate import evaluating
from ..serve import Asked as Options
from ..serve import Reading, Ready
from ._output import UserError
from ._predict_texts import Answered

Row = tuple[Path, str, Ready]
"""An image, a task, and the image as the task's reading prepares it."""


def label_images(model: MultiTask, readings: Mapping[str, Reading], paths: Sequence[Path], size: int) -> Answered:
    """The predictions of every task for every image, by the task's reading, and the unreadable images."""
    images, options, errors = list(_images(paths)), Options(), list[dict[str, str]]()

    def rows() -> Iterator[Row]:
        for path in images:
            try:
                image = open_image(path)
            except (UnreadableImageError, MissingDataError) as error:
                errors.append({"image": str(path), "error": str(error)})
                continue
            yield from ((path, name, reading.ready(image, options)) for name, reading in readings.items())

    def answers(batch: list[Row]) -> Iterator[dict[str, Any]]:
        group: Any = batch[0][2].group
        with evaluating(model):
            outputs = group.run(model, [name for _, name, _ in batch], [ready.value for _, _, ready in batch])
        for (path, name, ready), output in zip(batch, outputs, strict=True):
            yield {"image": str(path), "task": name, **readings[name].said(output, ready, options)}

    return [answer for batch in _batches(rows(), size) for answer in answers(batch)], errors


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


def _batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """Batches of rows that can share a pass, at most `size` each, without reading far ahead."""
    while waiting := list(islice(rows, size)):
        groups: dict[Any, list[Row]] = {}
        for row in waiting:
            groups.setdefault(row[2].group, []).append(row)
        yield from groups.values()

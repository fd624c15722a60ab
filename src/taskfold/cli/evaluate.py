from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich import box
from rich.table import Table
from rich.text import Text

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import parse
from ..config.run import load_config
from ..data import ImageSet, ImageTensors, Source, parse_source, unreadable
from ..evaluate import Metrics
from ..evaluate import evaluate as measure
from ._output import UserError, emit, say, show
from ._prepare import load_data
from ._tasks import SUFFIX, best_device, load_tasks, preprocessing_of


def evaluate(
    files: Annotated[list[Path], typer.Argument(metavar="CONFIG | TASKFILES…", help="A configuration, or task files.")],
    backbone: Annotated[
        str | None, typer.Option(help="For task files: the backbone that they were trained on.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A local file of the backbone's weights.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="For task files: a folder, a CSV file or {kind: …} for each, or one for all."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of one forward pass.")] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure saved tasks on their held-out test images.

    taskfold evaluate config.yaml

    taskfold evaluate flowers.safetensors --backbone timm:resnet50 --data data/flowers
    """
    files = list(dict.fromkeys(files))
    if all(path.suffix == SUFFIX for path in files):
        found = _of_files(files, backbone, weights, data, batch_size)
    elif len(files) == 1:
        if backbone or weights or data:
            raise UserError(f"--backbone, --weights and --data stand in {files[0]} already; leave them out")
        found = _of_config(files[0], batch_size)
    else:
        raise UserError(f"give one configuration, or task files (*{SUFFIX}), found {', '.join(map(str, files))}")
    if json:
        emit({"tasks": [{"task": task, "file": str(file), **metrics.as_json()} for task, file, metrics in found]})
    else:
        show(_table(found))


Found = list[tuple[str, Path, Metrics]]


def _of_config(path: Path, batch_size: int) -> Found:
    config = load_config(path)
    files = [config.task_file(task) for task in config.tasks]
    if absent := [str(file) for file in files if not file.is_file()]:
        raise UserError(f"{path}: not trained yet: {', '.join(absent)}; run taskfold train {path}")
    loaded = config.load_backbone()
    model = MultiTask(loaded.network, features=loaded.features, num_features=loaded.num_features).to(best_device())
    found: Found = []
    for settings, file in zip(config.tasks, files, strict=True):
        task = model.load_task(file, name=settings.name)
        data = load_data(config, settings)
        found.append((task.name, file, _measure(model, loaded, task, data.test, data.labels, batch_size)))
    return found


def _of_files(
    files: list[Path], backbone: str | None, weights: Path | None, data: list[str] | None, batch_size: int
) -> Found:
    if not backbone or not data:
        raise UserError("task files need --backbone and --data: neither is stored in them")
    if len(data) not in {1, len(files)}:
        raise UserError(f"--data is given {len(data)} times for {len(files)} task files; give it once, or for each")
    sources = [_source(text) for text in data]
    model, loaded = load_tasks(backbone, weights, files)
    found: Found = []
    for task, file, source in zip(model.tasks, files, sources * (len(files) // len(sources)), strict=True):
        parts = source.parts()
        images = parts.test or parts.train
        if parts.test is None:  # then all of it was given to be measured
            say(f"{source.origin} has no test split: all {len(images):,} images count, trained on or not", "dim")
        found.append((task, file, _measure(model, loaded, model[task], images, parts.labels, batch_size)))
    return found


def _source(text: str) -> Source:
    settings = parse(text, f"--data {text}") if text.lstrip().startswith("{") else _guess(Path(text))
    try:
        return parse_source(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--data {text}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _guess(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return {"kind": "folder", "root": path}
    if path.suffix == ".csv":
        return {"kind": "csv", "file": path}
    raise UserError(f"--data {path}: must be a folder, a CSV file, or a source: '{{kind: packaged, name: mnist}}'")


def _measure(
    model: MultiTask, loaded: LoadedBackbone, task: Task, images: ImageSet, labels: tuple[str, ...], batch_size: int
) -> Metrics:
    if bad := unreadable(images):
        raise UserError(f"task {task.name!r}: {len(bad)} test images cannot be read, the first: {bad[0].reason}")
    tensors = ImageTensors(_relabelled(images, labels, task), preprocessing_of(task, loaded))
    return measure(model, task.name, tensors, batch_size=batch_size)


def _relabelled(images: ImageSet, labels: tuple[str, ...], task: Task) -> ImageSet:
    """Targets that count as the task's labels do, not as the data's."""
    known = {label: index for index, label in enumerate(task.info.labels)} or {x: i for i, x in enumerate(labels)}
    used = {labels[target] for target in images.targets}
    if odd := sorted(used - known.keys()):
        raise UserError(
            f"task {task.name!r} does not know {', '.join(odd[:5])}{' …' if len(odd) > 5 else ''}; "
            f"its labels: {', '.join(list(known)[:20])}{' …' if len(known) > 20 else ''}"
        )
    return replace(images, targets=[known[labels[target]] for target in images.targets])


def _table(found: Found) -> Table:
    table = Table("task", "accuracy", "loss", "images", "file", box=box.SIMPLE)
    table.columns[-1].overflow = "fold"
    for name, file, metrics in found:
        table.add_row(
            Text(name), f"{metrics.accuracy:.2%}", f"{metrics.loss:.4f}", f"{metrics.count:,}", Text(str(file))
        )
    return table

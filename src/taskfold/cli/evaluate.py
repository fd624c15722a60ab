from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from rich import box
from rich.table import Table
from rich.text import Text

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import in_words, parse, parse_source, words_of
from ..config import kind_of as kind_of_source
from ..config.run import Config, load_any
from ..config.transfer import TransferConfig
from ..files import needs_inventory, read_text
from ..tasks import read_header
from ._origin import Origin
from ._output import UserError, emit, say, show
from ._prepare import grounded, new_model, ready_kind
from ._ready import Ready, Tested, say_doubts
from ._tasks import SUFFIX, WeightsOption, add_stored, best_device, kind_of, load_tasks
from ._versions import seen_by

Found = list[tuple[str, Path, Tested]]
FEW = 10
"""The most classes whose confusion matrix is printed."""


def evaluate(
    files: Annotated[list[Path], typer.Argument(metavar="CONFIG | TASKFILES…", help="A configuration, or task files.")],
    backbone: Annotated[
        str | None, typer.Option(help="For task files: the backbone that they were trained on, default: as noted.")
    ] = None,
    weights: WeightsOption = None,
    data: Annotated[
        list[str] | None, typer.Option(help="For task files: a folder, a file or {kind: …} for each, or one for all.")
    ] = None,
    inventory: Annotated[
        Path | None, typer.Option(help="For task files that share an inventory: its file; default: beside them.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples of one forward pass; 64, or 8 of dense targets, if not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure saved tasks on their held-out test data.

    taskfold evaluate config.yaml

    taskfold evaluate flowers.safetensors --backbone timm:resnet50 --data data/flowers

    taskfold evaluate mail.safetensors --data '{kind: examples, file: mail.csv}'
    """
    files = list(dict.fromkeys(files))
    if all(path.suffix == SUFFIX for path in files):
        found = _of_files(files, backbone, weights, data, inventory, batch_size)
    elif len(files) == 1 and not files[0].is_dir():
        if backbone or weights or data or inventory:
            raise UserError(
                f"--backbone, --weights, --data and --inventory stand in {files[0]} already; leave them out"
            )
        found = _of_config(files[0], batch_size)
    else:
        found_here = ", ".join(map(str, files))
        raise UserError(f"give one configuration, or task files (*{SUFFIX}, in a run's tasks), found {found_here}")
    if json:
        emit({"tasks": [{"task": task, "file": str(file), **tested.details} for task, file, tested in found]})
    else:
        for table in (*_tables(found), *_confusions(found)):
            show(table)
        say_doubts({name: tested for name, _, tested in found})
        for split in {tested.split for _, _, tested in found} - {"test"}:
            of = ", ".join(name for name, _, tested in found if tested.split == split)
            say(f"Note: {of}: the data have no test split; measured on {split}, by which epochs are chosen", "yellow")


def _of_config(path: Path, batch_size: int | None) -> Found:
    config = load_any(path)
    files = [config.task_file(task) for task in config.parts]
    if absent := [str(file) for file in files if not file.is_file()]:
        command = "transfer" if isinstance(config, TransferConfig) else "train"
        raise UserError(f"{path}: not trained yet: {', '.join(absent)}; run taskfold {command} {path}")
    loaded, inventory = _ground(config)
    apart = isinstance(config, Config) and config.together is not None and config.together.groups is not None
    model = new_model(loaded).to(best_device())
    if inventory is not None and any(needs_inventory(read_header(file)) for file in files):
        model.load_inventory(inventory)
    found: Found = []
    for settings, file in zip(config.parts, files, strict=True):
        if apart:  # each group has an inventory, and a model takes one
            model = new_model(loaded).to(best_device())
        task = add_stored(model, file, loaded, settings.name)
        ready = ready_kind(settings.kind.name).saved(settings.source, task, loaded, config)
        found.append((task.name, file, _tested(ready, model, file, batch_size)))
    return found


def _ground(config: Config | TransferConfig) -> tuple[LoadedBackbone, Path | None]:
    if isinstance(config, Config):
        return grounded(config, config.load_backbone()), config.inventory_file
    noted = Origin.read(config.output) or Origin.read(config.origin)
    if noted is None:
        raise UserError(f"{config.path}: from: there is no run.json in {config.origin}; run the joint training again")
    return grounded(config, noted.load_backbone()), noted.inventory


def _of_files(
    files: list[Path],
    backbone: str | None,
    weights: Path | None,
    data: list[str] | None,
    inventory: Path | None,
    batch_size: int | None,
) -> Found:
    if not data:
        raise UserError(
            "task files need --data, since they hold none; and --backbone, if no backbone is noted beside them"
        )
    if len(data) not in {1, len(files)}:
        raise UserError(f"--data is given {len(data)} times for {len(files)} task files; give it once, or for each")
    sources = [_source(text) for text in data]
    model, loaded = load_tasks(backbone, weights, files, inventory)
    sources *= len(files) // len(sources)
    found = zip(model.tasks, files, sources, strict=True)
    every = [(name, file, _ready(loaded, model[name], source)) for name, file, source in found]
    return [(name, file, _tested(ready, model, file, batch_size, given=True)) for name, file, ready in every]


def _ready(loaded: LoadedBackbone, task: Task, source: BaseModel) -> Ready:
    kind, theirs = kind_of(task), kind_of_source(source)
    if kind != theirs.name:
        tag = getattr(source, "kind", "")
        raise UserError(
            f"task {task.name!r} is for {words_of(kind)}, and data of kind {tag} have {theirs.words}; give other data"
        )
    return ready_kind(kind).saved(source, task, loaded, None)


def _tested(ready: Ready, model: MultiTask, file: Path, batch_size: int | None, given: bool = False) -> Tested:
    """Measures a task on the samples that it was not trained on, as far as the record beside its file tells."""
    keys, seen = ready.keys("test"), seen_by(file)
    if given and not keys:
        say(f"Note: {ready.name}: nothing tells which scenes it was trained on; all samples count", "yellow")
    if seen is None and keys and not ready.keys("train"):
        say(f"Note: {ready.name}: no record beside {file} tells what it was trained on; all samples count", "yellow")
    kept = [index for index, key in enumerate(keys) if key not in (seen or ())]
    left = len(keys) - len(kept)
    if left and not kept:
        raise UserError(
            f"{file}: task {ready.name!r} was trained on all {left:,} samples, or they chose its epoch; give other data"
        )
    if left:
        said = f"{ready.name}: {left:,} of {len(keys):,} samples trained the task or chose its epoch, and are left out"
        say(f"Note: {said}; measured on the other {len(kept):,}", "yellow")
        ready = ready.tested_on(kept)
    tested = ready.test(model, batch_size or ready.batch)
    return replace(tested, details={**tested.details, "left_out": left})


def _source(text: str) -> BaseModel:
    if not text.strip():
        raise UserError(f"--data must be a folder, a file or a source, found {text!r}")
    settings = parse(text, f"--data {text}") if text.lstrip().startswith("{") else _guess(Path(text))
    try:
        return parse_source(settings)
    except ValidationError as error:
        raise in_words(f"--data {text}", error, settings, BaseModel) from None


def _guess(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return {"kind": "folder", "root": path}
    if path.suffix == ".csv" and _is_image_list(path):
        return {"kind": "csv", "file": path}
    if path.suffix in {".jsonl", ".csv", ".tsv"}:
        return {"kind": "examples", "file": path}
    raise UserError(
        f"--data {path}: must be a folder, a file (.csv, .tsv, .jsonl), or a source: '{{kind: packaged, name: mnist}}'"
    )


def _is_image_list(path: Path) -> bool:
    """Whether a file is an image list; tables of examples have other columns."""
    if not path.is_file():
        return True
    first = {column.strip() for column in read_text(path).partition("\n")[0].split(",")}
    return not ({"input", "target"} <= first or {"text", "label"} <= first)


def _confusions(found: Found) -> list[Table]:
    """Confusions between classes, of tasks with few."""
    tables = []
    for name, _, tested in found:
        if 1 < len(tested.confusion) <= FEW:
            labels = tested.details["labels"]
            table = Table("is", *(f"as {label}" for label in labels), title=f"{name}: taken for", box=box.SIMPLE)
            table.title_justify = "left"
            for label, row in zip(labels, tested.confusion, strict=True):
                table.add_row(Text(label), *(f"{count:,}" for count in row))
            tables.append(table)
    return tables


def _tables(found: Found) -> list[Table]:
    """One table for each kind of measures."""
    tables: dict[tuple[str, ...], Table] = {}
    for name, file, tested in found:
        titles = tuple(tested.columns)
        if titles not in tables:
            tables[titles] = Table("task", *titles, "file", box=box.SIMPLE)
            tables[titles].columns[-1].overflow = "fold"
        tables[titles].add_row(Text(name), *tested.columns.values(), Text(str(file)))
    return list(tables.values())

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich import box
from rich.table import Table

from ..config import ConfigError, parse_backbone
from ..config.run import load_config
from ..data import DataError, TaskData
from ..data.sources import Folder
from ..files import as_file, check_name, draft_of
from ._output import UserError, say, show

DEFAULT = "timm:resnet18"
TEXT = """\
# taskfold train {name}
# Every key: taskfold's documentation, "Training". A task's own settings go into an entry of `tasks`.
backbone: {backbone}
method: {{name: ftn, rank: 8}}
train: {{epochs: 10}}
{tasks}
output: runs
"""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of images for each task, or of one task.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The file to write.")] = Path("config.yaml"),
    backbone: Annotated[str, typer.Option(help="The frozen network.")] = DEFAULT,
) -> None:
    """Write a configuration for the image folders in DIR: <task>/<class>/*.jpg, or <task>/train/<class>/*.jpg.

    If every folder in DIR is a task, the configuration has `tasks: {glob: DIR/*}`: a new folder is a new task.
    """
    if config.exists():
        raise UserError(f"{config} exists already; name another file with --config, or take it away")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give one with a folder of images for each task")
    if backbone != DEFAULT:
        parse_backbone(backbone, "--backbone").load(config.parent, meta=True)
    found, others = _tasks(folder)
    if not found:
        raise UserError(
            f"{folder} has no tasks: none of its folders has class folders with images "
            f"(<task>/<class>/*.jpg or <task>/train/<class>/*.jpg); the first: {others[0] if others else 'none'}"
        )
    names = _names(list(found))
    place = folder if folder.is_absolute() else Path(os.path.relpath(folder, config.parent))
    here = config.absolute().parent.resolve()
    if among := next((path for path in found if here.is_relative_to(path.resolve())), None):
        raise UserError(f"{config} and its output would lie among the classes of {among}; choose a file with --config")
    same = not others and here != folder.resolve() and {folder} != found.keys()
    same = same and all(names[path] == path.name for path in found)
    if same:
        tasks = f"tasks: {{glob: {_yaml(f'{glob.escape(place.as_posix())}/*')}}}"
    else:
        lines = [
            f"  - {{name: {_yaml(names[path])}, source: {{kind: folder, root: {_yaml(_below(path, folder, place))}}}}}"
            for path in found
        ]
        tasks = "\n".join(["tasks:", *lines])
    text = TEXT.format(name=config.name, backbone=_yaml(backbone), tasks=tasks)
    with draft_of(config) as draft:
        draft.write_text(text, encoding="utf-8")
        try:
            load_config(draft)
        except ConfigError as error:
            raise UserError(str(error).replace(str(draft), str(config))) from None
        draft.replace(config)
    table = Table("task", "classes", "images", box=box.SIMPLE)
    for path, data in found.items():
        table.add_row(names[path], str(len(data.labels)), f"{sum(map(len, data.splits.values())):,}")
    show(table)
    for other in others:
        say(f"{other} is left out: it has no class folders with images", "yellow")
    say(f"{config} is written; go on with: taskfold train {config}")


def _tasks(folder: Path) -> tuple[dict[Path, TaskData], list[Path]]:
    """The folders that can be tasks, and the others; the folder itself if its folders are classes."""
    here = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    read = {path: _read(path) for path in here}
    found = {path: data for path, data in read.items() if data is not None}
    if not found or (folder / "train").is_dir():
        whole = _read(folder)
        return ({} if whole is None else {folder: whole}), ([] if whole else here)
    return found, [path for path in here if path not in found]


def _read(folder: Path) -> TaskData | None:
    """The images of a folder; None: it has no class folders with images in each."""
    try:
        data = Folder(root=folder).load()
    except DataError:
        return None
    seen = {target for images in data.splits.values() for target in images.targets}
    return data if len(seen) == len(data.labels) > 1 else None


def _names(paths: list[Path]) -> dict[Path, str]:
    """Names of tasks after their folders, changed if they are not allowed or taken."""
    names: dict[Path, str] = {}
    for path in paths:
        name = re.sub(r'[./\\<>:"|?*]', "-", path.resolve().name).strip()[:80] or "task"
        try:
            check_name(name)
        except ValueError:
            name = f"task-{len(names) + 1}"
        taken = {as_file(one) for one in names.values()}
        names[path] = name if as_file(name) not in taken else f"{name}-{len(names) + 1}"
    return names


def _below(path: Path, folder: Path, place: Path) -> str:
    return (place / path.relative_to(folder)).as_posix()


def _yaml(text: str) -> str:
    """A value in YAML, within braces."""
    return yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=10**6).strip()[1:-1]

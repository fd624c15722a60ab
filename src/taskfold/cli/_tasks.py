"""Saved tasks, ready to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from .. import MultiTask, Task
from ..backbones import LoadedBackbone
from ..config import BackboneConfig, NetworkConfig, parse_backbone, words_of
from ..files import PUBLISHED, needs_inventory, source_words
from ..model import read_inventory
from ..serve import Reading
from ..tasks import Named, TaskFileError, read_header
from ._origin import inventory_for, origin_of
from ._output import UserError
from ._prepare import new_model, ready_kind

SUFFIX = ".safetensors"

BackboneOption = Annotated[
    str | None, typer.Option(help="The backbone that the tasks were trained on; default: as noted beside them.")
]
WeightsOption = Annotated[Path | None, typer.Option(help="A local file of the backbone's weights.")]
InventoryOption = Annotated[Path | None, typer.Option(help="The file of a shared inventory; default: beside tasks.")]


def load_tasks(
    backbone: str | None, weights: Path | None, files: Sequence[Path], inventory: Path | None = None
) -> tuple[MultiTask, LoadedBackbone]:
    model, loaded = ground(backbone, weights, files, inventory)
    for file in dict.fromkeys(files):
        add_stored(model, file, loaded)
    return model.to(best_device()), loaded


def ground(
    backbone: str | None,
    weights: Path | None,
    files: Sequence[Path],
    inventory: Path | None = None,
    folder: Path | None = None,
) -> tuple[MultiTask, LoadedBackbone]:
    """The backbone that these files use, and their inventory; no task yet.

    Without `backbone` it is the one that the first file's run noted, or the file's own, if its weights are published
    ones; `inventory` is looked for beside the files; new files will lie in `folder` if there are none yet.
    """
    by_name: dict[str, Path] = {}
    standing: list[Path] = []
    kinds: set[str] = set()
    for file in files:
        header = read_header(file)
        kinds.add(_kind_in(header["info"]["preprocessing"]))
        if (first := by_name.setdefault(header["task"], file)) != file:
            raise UserError(f"{first} and {file} both hold a task {header['task']!r}; give one of them")
        if needs_inventory(header):
            standing.append(file)
    if inventory is not None and files and not standing:
        raise UserError(f"--inventory {inventory}: none of these tasks shares an inventory; leave it out")
    loaded = _backbone(backbone, weights, [*files, *([folder / "none"] if folder else [])])
    if len(kinds) == 1:  # with several kinds of data, a task that does not fit reports it when it is used
        loaded = ready_kind(kinds.pop()).ground(loaded)
    model = new_model(loaded).train(False)
    _load_inventories(model, {file: inventory or inventory_for(file) for file in standing})
    return model, loaded


def add_stored(model: MultiTask, file: Path, loaded: LoadedBackbone, name: str | None = None) -> Task:
    """Add a task from its file, with any head."""
    information = read_header(file)["info"]["preprocessing"]
    head = ready_kind(_kind_in(information)).stored_head(information, loaded)
    return model.load_task(file, name=name, head=head)


def reading_of(task: Task, loaded: LoadedBackbone) -> Reading:
    """The reading of a server's requests for a task, by its kind of data."""
    kind = ready_kind(kind_of(task))
    if kind.ground(loaded) != loaded:
        raise UserError(
            f"task {task.name!r} is for {words_of(kind.kind)}, and the network puts out what tasks of other kinds "
            "read; serve tasks of this kind by themselves"
        )
    return kind.reading(task, loaded)


def _load_inventories(model: MultiTask, places: Mapping[Path, Path]) -> None:
    """Loads the inventory of each file; a model takes one inventory of a method."""
    held: dict[Path, Path] = {}
    for file, place in places.items():
        if place in held:
            continue
        try:
            model.load_inventory(place)
        except TaskFileError:
            read_inventory(place, model.backbone, Named())  # `add_stored` reports what is wrong with the file
            first, other = next(iter(held.items()))
            raise UserError(
                f"{file} stands on {place}, and {other} on {first}: two inventories for the same layers; give the "
                "files of one inventory at a time"
            ) from None
        held[place] = file


def _backbone(spec: str | None, weights: Path | None, files: Sequence[Path]) -> LoadedBackbone:
    if spec is not None:
        return _with(parse_backbone(spec, "--backbone"), weights).load()
    if (noted := origin_of(files[0])) is not None:
        return _with(noted.backbone, weights).load(noted.base)
    if not files[0].is_file():
        raise UserError(
            f"{files[0].parent} has no tasks and no run.json; give the output of taskfold train, or --backbone for "
            "tasks that are to come"
        )
    said = read_header(files[0])["backbone"]
    if said.get("weights") == PUBLISHED:
        return _with(parse_backbone(said["source"], "--backbone"), weights).load()
    raise UserError(
        "task files need --backbone: they stand on it, and its weights are not in them; "
        f"{files[0].name} was trained on {source_words(said)}"
    )


def _with(found: BackboneConfig | NetworkConfig, weights: Path | None) -> BackboneConfig | NetworkConfig:
    if weights is None:
        return found
    if isinstance(found, NetworkConfig):
        raise UserError(f"--weights: {found.network} has them among its settings: '{{network: …, weights: {weights}}}'")
    return found.model_copy(update={"weights": weights})


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def kind_of(task: Task) -> str:
    return _kind_in(task.info.preprocessing)


def _kind_in(information: Mapping[str, object]) -> str:
    """The kind of data; image tasks name none."""
    return str(information.get("kind", "images"))

"""A run in one file for a colleague: tasks, versions, backbone."""

from __future__ import annotations

import errno
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..config import BackboneConfig
from ..files import draft_of
from ..tasks import Store, TaskFileError, read, read_header
from ._origin import INVENTORY, NAME, Origin
from ._output import UserError

BACKBONE = "backbone"
"""Folder in the file for the backbone's local files."""
_ALSO = ("results.json", "report.html")
README = """\
# {title}

{count} tasks on the backbone {backbone}. Its fingerprint: {fingerprint}.
{weights}

    pip install taskfold
    taskfold unpack {file} DIR
    taskfold tasks list DIR
    taskfold predict DIR/tasks/{first}.safetensors …

In Python: `taskfold.MultiTask(network).load_task("DIR/tasks/{first}.safetensors")`; another network is refused.
`tasks/` holds the current version of each task, `tasks/<name>/` all versions, `run.json` names the backbone.

{tasks}
"""


def pack_run(output: Path, file: Path) -> list[str]:
    """Write a run into a zip file; returns the names of its tasks."""
    origin, store = Origin.read(output), Store(output / "tasks")
    if origin is None or not (names := store.names()):
        raise UserError(f"{output} has no {'tasks' if origin else NAME}; give the output of taskfold train")
    for name in names:
        read(store.path(name))
    with draft_of(file) as draft:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            moved = _backbone(origin, archive)
            inside = origin.inventory and origin.inventory.is_relative_to(output)
            if origin.inventory is not None and not inside:
                archive.write(origin.inventory, INVENTORY)
            for path in _files(output):
                archive.write(path, path.relative_to(output).as_posix())
            said = {**moved.backbone.as_json(), "base": BACKBONE}
            said["inventory"] = origin.inventory and (
                origin.inventory.relative_to(output).as_posix() if inside else INVENTORY
            )
            archive.writestr(NAME, json.dumps(said, ensure_ascii=False, indent=1))
            archive.writestr("README.md", _readme(file, origin, moved, store, names))
        draft.replace(file)
    return names


def unpack_run(file: Path, folder: Path) -> list[str]:
    """Write a packed run into a new folder; returns the names of its tasks."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already and is not empty; name another folder")
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if odd := [name for name in names if not _inside(name)]:
                raise zipfile.BadZipFile(f"it holds {odd[0]!r}, which leads out of the folder")
            if NAME not in names:
                raise zipfile.BadZipFile(f"it has no {NAME}")
            folder.parent.mkdir(parents=True, exist_ok=True)
            with draft_of(folder, folder=True) as draft:
                archive.extractall(draft)
                store = Store(draft / "tasks")
                for name in store.names():
                    read(store.path(name))
                draft.replace(folder)
    # zipfile raises these errors for contents that do not fit the archive's own list, and for names that are no text.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which a place before the file's start has
            raise
        raise UserError(f"{file} is no file of taskfold pack, or damaged ({error}); pack the run again") from None
    return Store(folder / "tasks").names()


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in path.parts[0]


def _files(output: Path) -> Iterator[Path]:
    places = [output / "tasks", *sorted(output.glob("group-*/tasks"))]
    for place in places:
        yield from (path for path in sorted(place.rglob("[!.]*")) if path.is_file())
    for path in (*sorted(output.glob(f"**/{INVENTORY}")), *(output / name for name in _ALSO)):
        if path.is_file() and "train" not in path.relative_to(output).parts:
            yield path


def _backbone(origin: Origin, archive: zipfile.ZipFile) -> Origin:
    """Packs the backbone's local files: its weights, and the Python file that makes it."""
    chosen = origin.backbone
    if not isinstance(chosen, BackboneConfig):
        return origin
    made, colon, function = chosen.model.rpartition(":")
    if colon and made.endswith(".py"):
        path = origin.base / made
        archive.write(path, f"{BACKBONE}/{path.name}")
        chosen = chosen.model_copy(update={"model": f"{path.name}:{function}"})
    if chosen.weights is not None:
        archive.write(chosen.weights, f"{BACKBONE}/{chosen.weights.name}")
        chosen = chosen.model_copy(update={"weights": Path(BACKBONE, chosen.weights.name)})
    return replace(origin, backbone=chosen)


def _readme(file: Path, origin: Origin, moved: Origin, store: Store, names: list[str]) -> str:
    local = isinstance(moved.backbone, BackboneConfig) and (moved.backbone.weights or moved.backbone != origin.backbone)
    lines = []
    for name in names:
        try:
            header = read_header(store.path(name))
        except TaskFileError:
            continue
        scores = ", ".join(f"{key} {value:.3g}" for key, value in header["info"]["metrics"].items() if "test" in key)
        lines.append(f"- {name}: {header['method']['name']}, {scores or 'not measured'}")
    header = read_header(store.path(names[0]))
    return README.format(
        title=file.stem,
        count=len(names),
        backbone=moved.backbone.label,
        fingerprint=header["backbone"]["fingerprint"],
        weights="Its files are in backbone/."
        if local
        else "Its weights are had under that name; they are not in here.",
        file=file.name,
        first=names[0],
        tasks="\n".join(lines),
    )

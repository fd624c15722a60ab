"""The content of a folder after a command, without what may depend on the time, or on a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from taskfold.files import TaskFileError, read_raw
from taskfold.tasks import Store

_OTHERS = {"checkpoint.safetensors", "adapter_model.safetensors"}
_TIMES = {"seconds", "time", "published", "latency"}


def state(folder: Path) -> dict[str, Any]:
    """What a folder holds, but for times: task files by content, documents, versions of tasks, names of all else."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == ".contents.json" or "__pycache__" in path.parts:
            continue
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            found[name] = "hidden"
        elif path.is_dir():
            found[name] = "folder"
        elif path.suffix == ".safetensors" and path.name not in _OTHERS:
            found[name] = read_raw(path, "inventory" if path.stem == "inventory" else "task").header["digest"]
        elif path.name == "results.json":
            found[name] = _results(json.loads(path.read_text()))
        elif path.name == "estimates.json":
            found[name] = sorted(json.loads(path.read_text()))
        elif path.suffix == ".json":
            found[name] = _timeless(json.loads(path.read_text()))
        else:
            found[name] = "file"
    for place in folder.rglob("tasks"):
        if any(part.startswith(".") for part in place.relative_to(folder).parts):
            continue
        store = Store(place)
        for name in store.names():
            found[f"versions of {name}"] = [(one.digest, one.current) for one in store.versions(name)]
    return found


def _results(said: dict[str, Any]) -> Any:
    return [[one["name"] for one in said["tasks"]], [one["metrics"] for one in said["runs"]], said.get("confusions")]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in _TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def broken(folder: Path) -> str:
    """What somebody who looks after a kill would find half-written; empty: nothing."""
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        try:
            if path.suffix == ".safetensors" and path.name not in _OTHERS:
                read_raw(path, "inventory" if path.stem == "inventory" else "task")
            elif path.suffix == ".json":
                json.loads(path.read_text())
        except (TaskFileError, ValueError) as error:
            return f"{path.name} is half-written: {error}"
    return ""


def differing(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In what they differ, in short."""
    keys = [key for key in sorted(found.keys() | wanted.keys()) if found.get(key) != wanted.get(key)]
    return "; ".join(f"{key}: {_short(found, key)}, wanted {_short(wanted, key)}" for key in keys[:3])


def _short(held: dict[str, Any], key: str) -> str:
    return str(held.get(key, "not there"))[:160]

"""Cards of task and inventory files: their contents in a readable form."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from ..files import LOGITS, RawContents, TaskFileError, digest_of, needs_inventory, read_header, read_raw

ALWAYS = ("factors", "routing", "norm", "running statistics", "head", "shared")
"""Groups that every card counts, before a method's own."""


def card(path: Path, tensors: bool = False) -> dict[str, Any]:
    """The card of a file."""
    if path.is_dir():
        inside = [str(file) for file in sorted(path.rglob("*.safetensors")) if _kind_of_file(file)]
        there = f"one of the files in it: {', '.join(inside[:4])}{', …' if inside[4:] else ''}" if inside else "a file"
        raise IsADirectoryError(f"{path} is a folder; give {there}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    kind = _kind_of_file(path) or "task"  # a damaged file is reported below
    contents = read_raw(path, kind)
    kinds = {name: "shared" if kind == "inventory" else _group_of(name, contents) for name in contents.tensors}
    found: dict[str, Any] = {
        "kind": kind,
        "file": str(path),
        "format_version": contents.header["format_version"],
        **(_inventory(path, contents) if kind == "inventory" else _task(contents)),
        "backbone": contents.header["backbone"],
        "parameters": dict.fromkeys([*ALWAYS, *kinds.values()], 0),
        "bytes": dict.fromkeys([*ALWAYS, *kinds.values()], 0),
        "file_bytes": path.stat().st_size,
    }
    stored: dict[str, Any] = contents.header.get("stored", {})
    if any("width" in one for one in stored.values()):
        found["bits"] = {kind: 0 for name, kind in kinds.items() if name in stored}
    for name, tensor in contents.tensors.items():
        numbers = prod(stored[name]["shape"]) if name in stored else tensor.numel()
        if "width" in stored.get(name, {}):
            found["bits"][kinds[name]] += stored[name]["width"] * numbers
        found["parameters"][kinds[name]] += numbers
        found["bytes"][kinds[name]] += len(tensor.data)
    if tensors:
        found["tensors"] = {
            name: {
                "kind": kinds[name],
                "shape": stored[name]["shape"] if name in stored else list(tensor.shape),
                "dtype": stored[name]["as"] if name in stored else tensor.dtype,
            }
            for name, tensor in contents.tensors.items()
        }
    return found


def _group_of(name: str, contents: RawContents) -> str:
    """The group that a tensor counts in: from the file for the task's own tensors, else `head`."""
    if name.startswith("inventory:"):
        return "shared"
    group = contents.header["groups"].get(name, "head")
    return "running statistics" if group == "statistics" else group


def _kind_of_file(path: Path) -> str | None:
    for kind in ("task", "inventory"):
        try:
            read_header(path, kind)
        except TaskFileError:
            continue
        return kind
    return None


def _task(contents: RawContents) -> dict[str, Any]:
    header, info = contents.header, contents.header["info"]
    return {
        "task": header["task"],
        "data": info["preprocessing"].get("kind", "images"),
        "method": header["method"],
        "head": header["head"],
        "labels": info["labels"],
        "problem": info.get("problem") or {"kind": "classification"},
        "preprocessing": info["preprocessing"],
        "metrics": info["metrics"],
        "transfer": header.get("transfer"),
        "inventory": header.get("inventory"),
    }


def _inventory(path: Path, contents: RawContents) -> dict[str, Any]:
    """The methods with their layers and numbers; the experts, by the routing of task files beside the inventory."""
    tasks = dict(_tasks_on(path, contents))
    methods: dict[str, dict[str, Any]] = {}
    layers: dict[str, set[str]] = {}
    for key, tensor in contents.tensors.items():
        prefix, _, rest = key.partition("/")
        name = prefix.partition(".")[0]
        part = methods.setdefault(name, {"layers": 0, "experts": [], "numbers": 0})
        part["numbers"] += tensor.numel()
        layers.setdefault(name, set()).add(rest.rpartition(":")[0])
        part["layers"] = len(layers[name])
    for task in tasks.values():
        part = methods.get(task.header["method"]["name"])
        if part is not None:
            routed = {tensor.shape[-1] for leaf, tensor in task.tensors.items() if leaf.endswith(f".{LOGITS}")}
            part["experts"] = sorted({*part["experts"], *routed})
    return {"methods": methods, "tasks": list(tasks)}


def _tasks_on(path: Path, contents: RawContents) -> Iterator[tuple[str, RawContents]]:
    """Task files that name an inventory, beside it or in `tasks` beside it; damaged ones are skipped."""
    for file in sorted([*path.parent.glob("*.safetensors"), *(path.parent / "tasks").glob("*.safetensors")]):
        try:
            header = read_header(file)
            if not needs_inventory(header):
                continue
            task = read_raw(file)
        except (TaskFileError, OSError):
            continue
        if header["inventory"]["fingerprint"] in _fingerprints(contents, task):
            yield task.header["task"], task


def _fingerprints(contents: RawContents, task: RawContents) -> set[str]:
    """Fingerprints of the whole inventory, and of the part that a task's method uses."""
    method = task.header["method"]["name"]
    mine = {key: tensor for key, tensor in contents.tensors.items() if key.partition(".")[0] == method}
    return {digest_of(contents.tensors), digest_of(mine)}

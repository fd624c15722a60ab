"""Tasks that a configuration names by a pattern: one for each folder or file that matches."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._errors import ConfigError

_KINDS = {".csv": "csv", ".jsonl": "examples", ".tsv": "examples"}
"""What files are, unless `source` says it."""
_WITH_ROOT = "folder"


def listed(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The document with `tasks: {glob: data/*, …}` as a list: a task for each match, named after it.

    What stands beside `glob` holds for each of them.

    Args:
        document: as it stands in the file.
        path: the file; patterns count from its folder.
    """
    said = document.get("tasks")
    if not isinstance(said, Mapping) or "glob" not in said:
        return dict(document)
    pattern, rest = said["glob"], {key: value for key, value in said.items() if key != "glob"}
    if not isinstance(pattern, str) or not pattern:
        raise ConfigError(f"{path}: tasks.glob: must be a pattern such as data/*, found {pattern!r}")
    if odd := {"name"} & rest.keys():
        raise ConfigError(f"{path}: tasks.{odd.pop()}: tasks of a pattern are named after what matches; leave it out")
    below = Path(os.path.expanduser(pattern))
    whole = Path(glob.escape(str(path.parent))) / below
    found = sorted(glob.glob(str(whole)))
    if not found:
        raise ConfigError(f"{path}: tasks.glob: nothing matches {pattern!r} in {path.parent.absolute()}")
    if isinstance(output := document.get("output"), str):
        place = os.path.normpath(path.parent / output)
        if fnmatch.fnmatchcase(place, os.path.normpath(whole)):
            raise ConfigError(f"{path}: output: {output!r} matches tasks.glob {pattern!r}; choose another folder")
    return {**document, "tasks": [_task(Path(match), path.parent, rest) for match in found]}


def _task(match: Path, base: Path, rest: Mapping[str, Any]) -> dict[str, Any]:
    place = match.relative_to(base) if match.is_relative_to(base) else match
    source = rest.get("source") or {}
    kind = _WITH_ROOT if match.is_dir() else _KINDS.get(match.suffix.lower(), "csv")
    kind = source.get("kind", kind) if isinstance(source, Mapping) else kind
    where = {"root" if match.is_dir() else "file": place.as_posix()}
    name = match.name if match.is_dir() else match.stem
    return {"name": name, **rest, "source": {"kind": kind, **where, **dict(source)}}

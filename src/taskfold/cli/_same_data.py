"""Checks that a training resumes with the settings and data that it began with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import draft_of, write_atomically
from ..train.differences import differences, renamed
from ._output import UserError

NAME = "data.json"


def claim(folder: Path, here: Mapping[str, Any], who: str, *, fresh: bool) -> None:
    """Note in a training's folder what it is trained on; compare with the note if a training has begun."""
    if fresh:
        wipe(folder)
    there = noted(folder) if (folder / "checkpoint.safetensors").exists() else None
    if there is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAME, json.dumps(here, ensure_ascii=False, indent=1).encode())
        return
    if problem := _changed(there, here):
        raise UserError(f"{who} {problem}; choose another output, or start over with --fresh ({folder})")


def wipe(folder: Path) -> None:
    """Delete a folder in one step, so that none of its files can be taken for later ones."""
    if folder.exists():
        with draft_of(folder, folder=True) as gone:
            folder.rename(gone / folder.name)


def noted(folder: Path) -> dict[str, Any] | None:
    """The note in a training's folder; None: there is none."""
    path = folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged; choose another output, or start over with --fresh")
    return found


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    if "tasks" in here and (names := renamed(there.get("tasks", {}), here["tasks"], "in the configuration")):
        return f"were trained together before with other tasks: {', '.join(names)}"
    found = differences(there, here)
    return f"began with other settings or data: {found}" if found else ""

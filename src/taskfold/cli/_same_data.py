"""A training goes on only with the data that it began with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..tasks import write_atomically
from ..train.differences import brief, renamed
from ._output import UserError
from ._ready import Ready

NAME = "data.json"
MOST = 4
"""Differences that are named; the rest are counted."""


def claim(folder: Path, tasks: Sequence[Ready], *, new: bool, joint: bool = False) -> None:
    """Note in a training's folder what it is trained on; unless it is new, compare with what stands there.

    Args:
        folder: of the training.
        tasks: with their data.
        new: nothing was trained there, or it is to be lost.
        joint: the tasks are trained together; otherwise there is one.

    Raises:
        UserError: the training in the folder began with other data or preprocessing.
    """
    here: dict[str, Any] = {task.name: task.identity for task in tasks} if joint else tasks[0].identity
    there = None if new else _read(folder / NAME)
    if there is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAME, json.dumps(here, ensure_ascii=False, indent=1).encode())
        return
    if problem := _changed(there, here, None if joint else tasks[0].name):
        raise UserError(f"{problem}; choose another output, or start over with --fresh ({folder})")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged; choose another output, or start over with --fresh")
    return found


def _changed(there: dict[str, Any], here: dict[str, Any], alone: str | None) -> str:
    if alone is None and (names := renamed(there, here, "in the configuration")):
        return f"other tasks were trained together before: {', '.join(names)}"
    if not (differing := _differences(there, here)):
        return ""
    who = "these tasks were" if alone is None else f"task {alone!r} was"
    more = [f"and {len(differing) - MOST} more"] if len(differing) > MOST else []
    return f"{who} trained before with other data: {'; '.join([*differing[:MOST], *more])}"


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for key in sorted({*there, *here}):
        before, now = there.get(key), here.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += [f"{key}.{difference}" for difference in _differences(before, now)]
        elif before != now:
            found.append(f"{key} was {brief(before)}, is now {brief(now)}")
    return found

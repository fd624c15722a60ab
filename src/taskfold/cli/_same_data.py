"""A training goes on only with the data that it began with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..tasks import write_atomically
from ._output import UserError
from ._ready import Ready

NAME = "data.json"


def claim(folder: Path, tasks: Sequence[Ready], *, new: bool) -> None:
    """Note in a training's folder what it is trained on; unless it is new, compare with what stands there.

    Raises:
        UserError: the training in the folder began with other data or preprocessing.
    """
    each = {task.name: task.identity for task in tasks}
    here: dict[str, Any] = each if len(tasks) > 1 else tasks[0].identity
    there = None if new else _read(folder / NAME)
    if there is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAME, json.dumps(here, ensure_ascii=False, indent=1).encode())
        return
    if differing := list(_differences(there, here)):
        who = f"task {tasks[0].name!r} was" if len(tasks) == 1 else "these tasks were"
        raise UserError(
            f"{who} trained before with other data: {'; '.join(differing)}; "
            f"choose another output, or start over with --fresh ({folder})"
        )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"{path} is damaged; choose another output, or start over with --fresh") from None


def _differences(there: Any, here: dict[str, Any]) -> list[str]:
    if not isinstance(there, dict):
        return [f"{NAME} is no mapping"]
    found = []
    for key in sorted({*there, *here}):
        before, now = there.get(key), here.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += [f"{key}.{difference}" for difference in _differences(before, now)]
        elif before != now:
            found.append(f"{key} was {before!r}, is now {now!r}")
    return found

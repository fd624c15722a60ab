"""A training goes on only with the data that it began with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..data import ImageSet
from ..tasks import write_atomically
from ._output import UserError
from ._prepare import Ready

NAME = "data.json"


def claim(folder: Path, task: Ready, *, new: bool) -> None:
    """Note in a training's folder what it is trained on; unless it is new, compare with what stands there.

    Raises:
        UserError: the training in the folder began with other data or preprocessing.
    """
    here = {
        "labels": list(task.data.labels),
        "preprocessing": task.preprocessing.model_dump(mode="json"),
        "train": _images(task.data.train),
        "val": _images(task.data.val),
    }
    there = None if new else _read(folder / NAME)
    if there is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAME, json.dumps(here, ensure_ascii=False, indent=1).encode())
        return
    if differing := list(_differences(there, here)):
        raise UserError(
            f"task {task.name!r} was trained before with other data: {'; '.join(differing)}; "
            f"choose another output, or start over with --fresh ({folder})"
        )


def _images(images: ImageSet) -> str:
    """Which images, by name and class: a folder may move."""
    listing = json.dumps([list(images.names), [int(target) for target in images.targets]])
    return f"{len(images)} images {hashlib.sha256(listing.encode()).hexdigest()[:12]}"


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

"""Checks that need the whole document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tasks import as_file
from ._errors import Place


def repeated(document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems of repeated names: task names, which also name files, and the size of images."""
    found: list[tuple[Place, str]] = []
    seen: dict[str, tuple[int, str]] = {}
    tasks = document.get("tasks")
    for index, task in enumerate(tasks if isinstance(tasks, list) else []):
        name = task.get("name") if isinstance(task, dict) else None
        if not isinstance(name, str):
            continue
        first, same = seen.setdefault(as_file(name), (index, name))
        if first != index:
            how = (
                "has this name already"
                if same == name
                else f"is named {same!r}: their files would be one on some systems"
            )
            found.append((("tasks", index, "name"), f"tasks[{first}] {how}; give each task its own, found {name!r}"))
    preprocessing = document.get("preprocessing")
    if "image_size" in document and isinstance(preprocessing, dict) and "size" in preprocessing:
        found.append((("image_size",), "is the same as preprocessing.size; keep one"))
    return found

"""What holds for all tasks, with what one task says on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._errors import Place, has

_GENERAL = ("method", "train", "preprocessing")


def merged(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with method, training and preprocessing written out in every task; what is no mapping stays.

    Example:
        >>> merged({"method": {"name": "ftn", "rank": 8}, "tasks": [{"method": {"rank": 20}}]})["tasks"]
        [{'method': {'name': 'ftn', 'rank': 20}, 'train': {}, 'preprocessing': {}}]
    """
    tasks = document.get("tasks")
    if not isinstance(tasks, list):
        return dict(document)
    general = {
        "method": as_method(document.get("method")),
        "train": document.get("train"),
        "preprocessing": document.get("preprocessing"),
    }
    if "image_size" in document and isinstance(general["preprocessing"] or {}, dict):
        general["preprocessing"] = {"size": document["image_size"], **(general["preprocessing"] or {})}
    return {**document, "tasks": [_task(task, general) if isinstance(task, dict) else task for task in tasks]}


def as_method(value: Any) -> Any:
    """`ftn` means `{name: ftn}`; no method at all means FTN."""
    if value is None or isinstance(value, str):
        return {"name": value or "ftn"}
    return {"name": "ftn", **value} if isinstance(value, dict) else value


def _task(task: dict[str, Any], general: dict[str, Any]) -> dict[str, Any]:
    own = task.get("method")
    if isinstance(own, str):
        own = {"name": own}
    shared = general["method"]
    if isinstance(own, dict) and isinstance(shared, dict) and own.get("name", shared["name"]) != shared["name"]:
        shared = {}  # another method has other settings
    return {
        **task,
        "method": _over(shared, own),
        "train": _over(general["train"], task.get("train"), deep=True),
        "preprocessing": _over(general["preprocessing"], task.get("preprocessing")),
    }


def _over(below: Any, above: Any, deep: bool = False) -> Any:
    if above is None:
        return {} if below is None else below
    if not isinstance(above, dict) or not isinstance(below, dict):
        return above
    inner = {key: _over(below[key], above[key]) for key in below.keys() & above.keys() if deep}
    return {**below, **above, **inner}


def attributed(found: list[tuple[Place, str]], document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems at their places in the document: what all tasks share is wrong once, at the top."""
    return [(_origin(place, document), text) for place, text in found]


def _origin(place: Place, document: Mapping[str, Any]) -> Place:
    general = place[2:]  # behind tasks and index
    if place[:1] != ("tasks",) or general[:1] not in {(section,) for section in _GENERAL}:
        return place
    if general == ("preprocessing", "size") and not _holds(document, place) and "image_size" in document:
        return ("image_size",)
    for depth in range(len(general), 0, -1):
        if _holds(document, (*place[:2], *general[:depth])):
            return place
        if _holds(document, general[:depth]):
            return general
    return general


def _holds(data: Any, place: Place) -> bool:
    for key in place:
        if not has(data, key):
            return False
        data = data[key]
    return True

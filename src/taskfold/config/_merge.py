"""Common sections of all tasks, combined with each task's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._errors import Place, has

_GENERAL = ("method", "train", "problem", "preprocessing", "text", "dense")
_DEEP = ("train", "text", "dense")
"""Sections whose mappings are merged, not replaced."""
_TELLS = {"method": "name", "source": "kind", "problem": "kind"}
"""The keys that name the subject of a section's other settings."""


def merged(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with common sections written out in every task and in `together`; non-mappings stay.

    Example:
        >>> whole = merged({"method": {"name": "ftn", "rank": 8}, "tasks": [{"method": {"rank": 20}}]})
        >>> whole["tasks"][0]["method"], [*whole["tasks"][0]]
        ({'name': 'ftn', 'rank': 20}, ['method', 'train', 'problem', 'preprocessing', 'text', 'dense'])
    """
    whole = written_out(document, _GENERAL)
    said = document.get("together")
    if said is True or isinstance(said, dict):
        whole["together"] = _over(document.get("train"), {} if said is True else said, deep=True)
    elif said is False:
        whole["together"] = None
    return whole


def written_out(document: Mapping[str, Any], sections: Sequence[str]) -> dict[str, Any]:
    """The document with these sections written out in every task."""
    tasks = document.get("tasks")
    if not isinstance(tasks, list):
        return dict(document)
    general = {key: document.get(key) for key in (*sections, *_shared(document))}
    general["problem"] = as_problem(document.get("problem"))
    if "method" in sections:
        general["method"] = as_method(document.get("method"))
    if "image_size" in document and isinstance(general["preprocessing"] or {}, dict):
        general["preprocessing"] = {"size": document["image_size"], **(general["preprocessing"] or {})}
    return {**document, "tasks": [_task(task, general) if isinstance(task, dict) else task for task in tasks]}


def as_method(value: Any) -> Any:
    """`ftn` stands for `{name: ftn}`; no method for FTN."""
    if value is None or isinstance(value, str):
        return {"name": value or "ftn"}
    return {"name": "ftn", **value} if isinstance(value, dict) else value


def as_problem(value: Any) -> Any:
    """`regression` stands for `{kind: regression}`."""
    return {"kind": value} if isinstance(value, str) else value


def _task(task: dict[str, Any], general: dict[str, Any]) -> dict[str, Any]:
    own = {key: task.get(key) for key in general}
    if isinstance(own.get("method"), str):
        own["method"] = {"name": own["method"]}
    own["problem"] = as_problem(own["problem"])
    found: dict[str, Any] = {}
    for key, below in general.items():
        tells = _TELLS.get(key)
        other = tells is not None and _differ(below, own[key], tells)
        found[key] = _over({} if other else below, own[key], deep=key in _DEEP)
    return {**task, **found}


def _differ(below: Any, above: Any, key: str) -> bool:
    """Whether two mappings have different subjects, so that the settings of one do not apply to the other."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return False
    return key in above and above[key] != below.get(key)


def _shared(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The common source of all tasks, if the document has one."""
    return ("source",) if "source" in document else ()


def _over(below: Any, above: Any, deep: bool = False) -> Any:
    if above is None:
        return {} if below is None else below
    if not isinstance(above, dict) or not isinstance(below, dict):
        return above
    inner = {key: _over(below[key], above[key], deep) for key in below.keys() & above.keys() if deep}
    return {**below, **above, **inner}


def attributed(found: list[tuple[Place, str]], document: Mapping[str, Any]) -> list[tuple[Place, str]]:
    """Problems at their places in the document: those of a common section appear once, at the top."""
    placed: list[tuple[Place, str]] = []
    for place, text in found:
        where = _origin(place, document)
        if place[:1] == ("together",) and where != place and any(place == where for place, _ in placed):
            continue  # `train` has reported it
        placed.append((where, text))
    return placed


def _origin(place: Place, document: Mapping[str, Any]) -> Place:
    if place[:1] == ("together",):
        below = ("train", *place[1:])
        return below if not _holds(document, place) and _holds(document, below) else place
    general = place[2:]  # after tasks and index
    if place[:1] != ("tasks",) or general[:1] not in {(section,) for section in (*_GENERAL, *_shared(document))}:
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

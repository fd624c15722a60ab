from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_MOST = 4
"""The most differences that are named; further ones are counted."""
_LONG = 120
_SIZES = ("shapes", "shared")
"""Keys of an identity with shapes of tensors, which follow from settings."""


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How two descriptions of runs differ, in words; empty: they are equal.

    Tasks come first, then settings; shapes are counted, unless nothing else differs.

    Example:
        >>> differences({"settings": {"epochs": 3}}, {"settings": {"epochs": 4}})
        'settings.epochs was 3, is now 4'
        >>> differences({"tasks": {"a": {}}}, {"tasks": {"b": {}}})
        "task 'a' is not among the tasks any more, task 'b' is new"
    """
    before, now = there.get("tasks"), here.get("tasks")
    names: list[str] = []
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = renamed(before, now)
        both = before.keys() & now.keys()
        there = {**there, "tasks": {name: before[name] for name in both}}
        here = {**here, "tasks": {name: now[name] for name in both}}
    old, new = _flat(there), _flat(here)
    keys = [key for key in sorted(old.keys() | new.keys(), key=_told) if old.get(key) != new.get(key)]
    settings = [key for key in keys if not _is_size(key)]
    told = [".".join(key) + f" was {brief(old.get(key))}, is now {brief(new.get(key))}" for key in settings or keys]
    shown = [*([", ".join(names)] if names else []), *told[:_MOST]]
    if len(told) > _MOST:
        shown.append(f"and {len(told) - _MOST} more")
    if settings and len(keys) > len(settings):
        shown.append(f"and the shapes of {len(keys) - len(settings)} tensors")
    return "; ".join(shown)


def renamed(there: Collection[str], here: Collection[str], where: str = "among the tasks") -> list[str]:
    """Missing and new tasks; one of each may be a renamed one."""
    gone, come = [name for name in there if name not in here], [name for name in here if name not in there]
    said: list[str] = []
    if gone:
        said.append(f"{_listed(gone)} not {where} any more")
    if come:
        said.append(f"{_listed(come)} new")
    return said


def brief(value: Any) -> str:
    """A value, shortened if long: a fingerprint, a list."""
    text = repr(value)
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return repr(f"{value[:12]}…")
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    shown = ", ".join(map(repr, names[:_MOST])) + more
    return f"task {shown} is" if len(names) == 1 else f"tasks {shown} are"


Key = tuple[str, ...]


def _is_size(key: Key) -> bool:
    return any(part in _SIZES for part in key[:-1])


def _told(key: Key) -> tuple[bool, bool, Key]:
    """Settings of the run come before those of tasks."""
    return _is_size(key), key[0] == "tasks", key


def _flat(nested: Any, prefix: Key = ()) -> dict[Key, Any]:
    if not isinstance(nested, Mapping):
        return {prefix: nested}
    return {place: value for key, item in nested.items() for place, value in _flat(item, (*prefix, key)).items()}

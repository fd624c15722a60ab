"""The form of the JSON document in a file's header, and the first fault of one with another form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AtLeast:
    """The form of an integer ≥ a bound."""

    least: int


@dataclass(frozen=True)
class Each:
    """The form of a mapping from any texts to values of one form."""

    wanted: Any


# Forms: a type for its values, a mapping for mappings with these keys (keys with ? are optional, others may stand
# beside them), a list for lists of its one member, a tuple for any of its members, all else for itself.
_BACKBONE = {
    "class": str,
    "fingerprint": str,
    "types": [str],
    "rounded": Each(str),
    "source?": str,
    "weights?": (str, None),
    "preprocessing?": {"input_size?": [AtLeast(1)], "mean?": [float], "std?": [float], "interpolation?": str},
    "quantised?": {"recipe": str, "fingerprint": str},
}
_FILE = {"format_version": int, "backbone": _BACKBONE, "digest": str}
_STORED = {
    "as": str,
    "shape": [AtLeast(0)],
    "width?": AtLeast(0),
    "below?": AtLeast(0),
    "basis?": str,
    "marks?": [float],
}
_GROUP = {"name": str, "lr": float}
HEADERS: dict[str, dict[str, Any]] = {
    "task": {
        **_FILE,
        "kind": "task",
        "task": str,
        "method": {"name": str, "settings": dict},
        "head": ({"kind": "linear", "outputs": AtLeast(1)}, {"kind": "module"}, None),
        "info": {"labels": [str], "preprocessing": dict, "metrics": dict},
        "transfer?": ("all", "mu", "z", None),
        "begun?": (Each(str), None),
        "inventory?": ({"fingerprint": str, "standalone": bool}, None),
        "groups": Each(str),
        "stored": Each(_STORED),
        "silent": [str],
        "stands?": ({"number": AtLeast(0), "digest": str, "tasks": [str]}, None),
    },
    "inventory": {**_FILE, "kind": "inventory", "groups": Each(_GROUP)},
}
_WORDS = {
    str: "text",
    dict: "a mapping",
    list: "a list",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


MOST_LEVELS = 50
"""The most nested mappings and lists: Python can follow only some hundreds."""


def too_deep(header: Any) -> str | None:
    """The fault that a header nests deeper than `MOST_LEVELS`, in words; None: it does not."""
    level = [header]
    for _ in range(MOST_LEVELS):
        nested = [one for one in level if isinstance(one, (dict, list))]
        level = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
    return f"its header has more than {MOST_LEVELS} levels of mappings and lists" if level else None


def odd(header: Any, wanted: Any, place: str = "its header") -> str | None:
    """The first fault in the form of a header, in words; None: there is none.

    Example:
        >>> odd({"labels": ["cat", 3]}, {"labels": [str]}, "info")
        'info.labels[1] must be text, found 3'
    """
    return next(_odds(header, wanted, place), None)


def _odds(found: Any, wanted: Any, place: str) -> Iterator[str]:
    if isinstance(wanted, tuple):
        each = [odd(found, one, place) for one in wanted]
        if None not in each:
            # The nearest form gives the best message: a mapping of the same kind, if there is one.
            tag = found.get("kind") if isinstance(found, dict) else None
            near = [n for n, one in enumerate(wanted) if isinstance(one, dict) and one.get("kind") == tag]
            yield each[near[0] if near else 0] or ""
    elif isinstance(wanted, (dict, Each)):
        if not isinstance(found, dict):
            yield _not(found, "a mapping", place)
        elif isinstance(wanted, Each):
            for key, value in found.items():
                yield from _odds(value, wanted.wanted, f"{place}.{key}")
        else:
            for key, one in wanted.items():
                name = key.removesuffix("?")
                if name in found:
                    yield from _odds(found[name], one, f"{place}.{name}")
                elif name == key:
                    yield f"{place} lacks {name!r}"
    elif isinstance(wanted, list):
        if not isinstance(found, list):
            yield _not(found, "a list", place)
        for index, value in enumerate(found if isinstance(found, list) else ()):
            yield from _odds(value, wanted[0], f"{place}[{index}]")
    elif isinstance(wanted, AtLeast):
        if type(found) is not int or found < wanted.least:
            yield _not(found, f"a whole number ≥ {wanted.least}", place)
    elif isinstance(wanted, type):
        if not isinstance(found, (int, float) if wanted is float else wanted) or isinstance(found, bool) is not (
            wanted is bool
        ):
            yield _not(found, _WORDS[wanted], place)
    elif found != wanted or isinstance(found, bool):
        yield _not(found, repr(wanted), place)


def _not(found: Any, wanted: str, place: str) -> str:
    # Never the repr of a whole document, which may be deep or long.
    shown = f"a {type(found).__name__}" if isinstance(found, (dict, list)) else repr(found)
    return f"{place} must be {wanted}, found {shown if len(shown) < 60 else shown[:59] + '…'}"

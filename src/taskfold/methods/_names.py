"""The check that a method's patterns name something in a network."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn


def check_patterns(method: Any, network: nn.Module) -> None:
    """Checks that each pattern of a method's settings matches the name of a module or tensor.

    Defaults may match none; a single pattern that matches none is refused where it selects layers.

    Raises:
        ValueError: a pattern matches none, or in a number by layer only names that earlier patterns match.
    """
    names: list[str] = []
    for field in dataclasses.fields(method):
        value, kind = getattr(method, field.name), str(field.type)
        if value is None or value == field.default or not any(one in kind for one in ("Patterns", "Rank", "Alpha")):
            continue
        if isinstance(value, str | int | float) or len(value) < 2:
            continue
        names = names or [*_names(network)]
        if kind.startswith("Patterns"):
            for pattern in value:
                if not any(fnmatchcase(name, pattern.removeprefix("!")) for name in names):
                    raise ValueError(_unknown(field.name, pattern, names, network))
        elif isinstance(value, Mapping):
            _check_order(field.name, [*value], names, network)


def _check_order(setting: str, patterns: Sequence[str], names: Sequence[str], network: nn.Module) -> None:
    """Checks that each pattern is the first to match a layer; `path:projection` leaves the layer's rest to others."""
    left = names
    for pattern in patterns:
        path, projection = pattern.partition(":")[::2]
        found = [name for name in left if fnmatchcase(name, path)]
        if not found and pattern != "*":
            if any(fnmatchcase(name, path) for name in names):
                raise ValueError(f"{setting}: earlier patterns match all that {pattern!r} does; write it before them")
            raise ValueError(_unknown(setting, pattern, names, network))
        left = left if projection else [name for name in left if name not in {*found}]


def _names(network: nn.Module) -> Iterator[str]:
    """The names of modules and tensors, those of shared ones in all places."""
    yield from (name for name, _ in network.named_modules(remove_duplicate=False) if name)
    yield from (name for name, _ in network.named_parameters(remove_duplicate=False))
    yield from (name for name, _ in network.named_buffers(remove_duplicate=False))


def _unknown(setting: str, pattern: str, names: Sequence[str], network: nn.Module) -> str:
    near = difflib.get_close_matches(pattern.removeprefix("!"), names, 3, cutoff=0.4) or list(names[:3])
    return f"{setting}: {pattern!r} matches nothing in {type(network).__name__}, which has {', '.join(near)}, …"

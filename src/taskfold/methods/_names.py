"""The check that a method's numbers by layer name layers of a network."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn


def check_by_layer(method: Any, network: nn.Module) -> None:
    """Checks that each pattern of a number by layer (`rank`, `alpha`) is the first to match some module's name.

    `*` may be for no layer. A single pattern is refused where a layer has no entry.

    Raises:
        ValueError: a pattern matches none, or only names that earlier patterns match.
    """
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        by_layer = isinstance(value, Mapping) and any(one in str(field.type) for one in ("Rank", "Alpha"))
        if by_layer and len(value) > 1:
            names = [name for name, _ in network.named_modules(remove_duplicate=False) if name]
            _check_order(field.name, [*value], names, network)


def _check_order(setting: str, patterns: Sequence[str], names: Sequence[str], network: nn.Module) -> None:
    """Checks that each pattern is the first to match a layer; `path:projection` leaves the layer's rest to others."""
    left = names
    for pattern in patterns:
        path, projection = pattern.partition(":")[::2]
        found = {name for name in left if fnmatchcase(name, path)}
        if not found and pattern != "*":
            if any(fnmatchcase(name, path) for name in names):
                raise ValueError(f"{setting}: earlier patterns match all that {pattern!r} does; write it before them")
            near = difflib.get_close_matches(pattern, names, 3, cutoff=0.4) or list(names[:3])
            has = f"{type(network).__name__}, which has {', '.join(near)}, …"
            raise ValueError(f"{setting}: {pattern!r} matches nothing in {has}")
        left = left if projection else [name for name in left if name not in found]

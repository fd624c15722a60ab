"""Plugins: other installed packages extend Taskfold by entry points, with a group for each kind of extension.

| group | its names are | an entry point loads |
|---|---|---|
| `taskfold.commands` | subcommands of `taskfold` | a function that typer can run |
| `taskfold.backbones` | `NAME` in `packaged:NAME` | a `taskfold.backbones.Scheme` |
| `taskfold.sources` | the `kind` of a source | a subclass of `Source`, `TextSource` or `DenseSource` |
| `taskfold.report` | free | a subclass of `taskfold.report.additions.Addition` |
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, get_args

COMMANDS, BACKBONES, SOURCES = "taskfold.commands", "taskfold.backbones", "taskfold.sources"
REPORT = "taskfold.report"

Base = TypeVar("Base")


class PluginError(ImportError):
    """An entry point cannot be used: the message has its group, its package and the remedy."""


def registered(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name; nothing is imported.

    Args:
        group: one of those above.

    Raises:
        PluginError: two packages register one name.

    Example:
        >>> registered("taskfold.nothing")
        {}
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(_installed(group), key=lambda entry: (entry.name, entry.value)):
        known = found.setdefault(entry.name, entry)
        if known.value != entry.value:
            raise PluginError(
                f"{group}: {_package(known)} and {_package(entry)} both register {entry.name!r}; uninstall one of them"
            )
    return found


def load(entry: EntryPoint) -> Any:
    """The object of an entry point.

    Raises:
        PluginError: it cannot be imported.
    """
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"{entry.group}: {entry.name!r} of {_package(entry)} cannot be loaded ({error}); install the package "
            "again, or uninstall it"
        ) from error


def summary(entry: EntryPoint) -> str:
    """The summary of an entry point's package, one line; empty: it has none."""
    said: Mapping[str, str] | Any = entry.dist.metadata if entry.dist is not None else {}
    return str(said["Summary"]) if "Summary" in said else ""


def kinds_of(base: type[Base]) -> dict[str, type[Base]]:
    """All kinds of source, Taskfold's and packages', by the `kind` in settings.

    Args:
        base: `Source`, `TextSource` or `DenseSource`; its direct subclasses declare `kind: Literal[...]`.

    Raises:
        PluginError: a source of another package cannot be imported.
    """
    for entry in registered(SOURCES).values():
        load(entry)
    kinds: list[Any] = base.__subclasses__()
    return {tag: kind for kind in kinds for tag in get_args(kind.model_fields["kind"].annotation)}


@cache
def _installed(group: str) -> tuple[EntryPoint, ...]:
    """The entry points, cached, since a search through all packages takes hundredths of a second."""
    return tuple(entry_points(group=group))


def _package(entry: EntryPoint) -> str:
    return f"package {entry.dist.name}" if entry.dist is not None else entry.value

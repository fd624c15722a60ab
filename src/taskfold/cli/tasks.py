"""The `tasks` command: a run's tasks, their versions, their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from ..tasks import Store, TaskFileError, Version, read_header
from ..train.differences import brief, differences
from ._held import held
from ._output import UserError, emit, say, show
from ._retold import follow
from ._versions import store_of, told_of

tasks = typer.Typer(
    no_args_is_help=True, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)
Output = Annotated[Path, typer.Argument(metavar="OUTPUT", help="The output folder of taskfold train.")]
Name = Annotated[str, typer.Argument(metavar="TASK", help="The task.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@tasks.callback()
def _tasks() -> None:
    """List, show, rename, remove, compare and roll back the tasks of a run.

    Every training of a task leaves a version, named by the digest of its file. `results.json` and the report follow at
    once.
    """


@tasks.command("list")
def list_(output: Output, json: Json = False) -> None:
    """List the tasks: scores, size and versions of each."""
    store = _store(output)
    rows = [_row(store, name) for name in store.names()]
    if json:
        return emit(rows)
    table = Table("task", "method", "scores", "bytes", "version", "published", "versions", box=box.SIMPLE)
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("task", "method", "scores")), f"{row['bytes']:,}", row["version"],
                      row["published"], str(row["versions"]))  # fmt: skip
    return show(table)


@tasks.command("show")
def show_(output: Output, name: Name, json: Json = False) -> None:
    """The versions of a task, oldest first: scores of each, and how it differs from the one before."""
    store = _store(output)
    versions = _versions(store, name)
    rows: list[dict[str, Any]] = []
    for before, version in zip([None, *versions], versions, strict=False):
        changed = "" if before is None else _difference(store, before, version)
        rows.append(_of(store, version) | {"current": version.current, "changed": changed})
    if json:
        return emit(rows)
    table = Table("version", "published", "", "scores", "changed", box=box.SIMPLE)
    for row in rows:
        table.add_row(
            row["version"], row["published"], "current" if row["current"] else "", row["scores"], row["changed"]
        )
    return show(table)


@tasks.command()
def rename(output: Output, old: Name, new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")]) -> None:
    """Give a task another name, in its file and its versions too; nothing is trained."""
    store = _store(output)
    with _followed(output, {old: new}):
        store.rename(old, new)
    say(f"{old} is {new} now; rename it in the configuration, or its folder; else the next training makes {old} again")


@tasks.command()
def remove(
    output: Output,
    name: Name,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its versions too, for good.")] = False,
) -> None:
    """Remove a task's file; its versions stay, and rollback restores it."""
    store = _store(output)
    with _followed(output):
        store.remove(name, purge=purge)
    back = "" if purge else f"; taskfold tasks rollback {output} {name} brings it back"
    say(f"{name} is removed{back}")


@tasks.command()
def diff(
    output: Output,
    name: Name,
    one: Annotated[
        str | None, typer.Argument(help="A version; default: the one before the other, or after the first.")
    ] = None,
    other: Annotated[str | None, typer.Argument(help="Another version; default: the current one.")] = None,
) -> None:
    """Show how two versions of a task differ: settings, data, scores."""
    store = _store(output)
    versions = _versions(store, name)
    now = next((version for version in versions if version.current), versions[-1])
    after = now if other is None else _chosen(name, versions, other)
    if one is not None:
        before = _chosen(name, versions, one)
    elif len(versions) == 1:
        raise UserError(f"task {name!r} has one version, {after.digest}; there is none to compare it with")
    elif place := versions.index(after):
        before = versions[place - 1]
    else:  # as after a rollback
        before, after = versions[:2]
    table = Table("", before.digest, after.digest, box=box.SIMPLE)
    mine, theirs = (_flat(_of(store, version) | _trained(store, version)) for version in (before, after))
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key):
            table.add_row(key, *(brief(values[key]) if key in values else "–" for values in (mine, theirs)))
    show(table)


@tasks.command()
def rollback(
    output: Output,
    name: Name,
    to: Annotated[str | None, typer.Option("--to", metavar="VERSION", help="Its digest, or the first digits.")] = None,
) -> None:
    """Make an earlier version the current one, in one step; the one before the current one unless --to is given."""
    store = _store(output)
    with _followed(output):
        version = store.rollback(name, to)
    say(f"{name} is version {version.digest} of {version.published or 'an unknown time'} now")


@contextmanager
def _followed(output: Path, renamed: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a block that changes the tasks of a run, then update the results, even if the block fails."""
    with held(output):
        try:
            yield
        finally:
            there = store_of(output).names()
            follow(output, {old: new for old, new in (renamed or {}).items() if new in there and old not in there})


def _store(output: Path) -> Store:
    store = store_of(output)
    if not store.folder.is_dir():
        raise UserError(
            f"there are no tasks in {output}: {store.folder} is no folder; give the output of taskfold train"
        )
    return store


def _versions(store: Store, name: str) -> list[Version]:
    if not (versions := store.versions(name)):
        raise UserError(f"there is no task {name!r} in {store.folder}; there are {', '.join(store.names()) or 'none'}")
    return versions


def _chosen(name: str, versions: list[Version], digits: str) -> Version:
    found = [version for version in versions if digits and version.digest.startswith(digits)]
    if len(found) != 1:
        raise UserError(
            f"task {name!r} has {len(found) or 'no'} versions that begin with {digits!r}; its versions: "
            f"{_listed(versions)}"
        )
    return found[0]


def _listed(versions: list[Version]) -> str:
    return ", ".join(version.digest for version in versions)


def _row(store: Store, name: str) -> dict[str, Any]:
    try:
        return _of(store, store.current(name)) | {"versions": len(store.versions(name))}
    except TaskFileError as error:
        empty = dict.fromkeys(("method", "version", "published"), "–")
        return {"task": name, **empty, "scores": str(error), "bytes": store.path(name).stat().st_size, "versions": 0}


def _of(store: Store, version: Version) -> dict[str, Any]:
    header, told = read_header(version.path), told_of(store, version)
    return {
        "task": version.task,
        "method": header["method"]["name"],
        "scores": told.said if told else _scores(header["info"]["metrics"]),
        "bytes": version.path.stat().st_size,
        "version": version.digest,
        "published": version.published,
    }


def _scores(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in metrics.items() if key.startswith("test_")) or "–"


def _trained(store: Store, version: Version) -> dict[str, Any]:
    return (store.record(version.task, version.digest) or {}).get("trained", {})


def _difference(store: Store, before: Version, after: Version) -> str:
    return differences(_trained(store, before), _trained(store, after)) or "nothing that it was trained on"


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found

"""Finished tasks, and the versions of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Plan, TaskPart
from ..files import draft_of
from ..model import MultiTask
from ..tasks import Store, TaskFileError, Version, read_header
from ..train.differences import differences
from ._output import say
from ._prepare import Opened
from ._ready import KEY, Ready, named
from ._same_data import noted
from ._tasks import add_stored
from ._told import Told

Record = Mapping[str, Any]


def store_of(output: Path) -> Store:
    return Store(output / "tasks")


def trained_on(model: MultiTask, fingerprint: str, task: Ready, settings: TaskPart) -> dict[str, Any]:
    """What a task's numbers depend on, without its name; JSON."""
    train = settings.train
    said = {
        "method": model[task.name].method,
        "problem": model[task.name].info.problem,
        "train": train.model_dump(mode="json", exclude={*train.unseen()}),
        "data": task.identity,
        "backbone": fingerprint,
    }
    return _plain(said)


def settled(store: Store, name: str, said: Record) -> Version | None:
    """The version for a task with these settings and data; None: it has to be trained.

    It is the last one trained so, or an earlier one that the user rolled back to from there.
    """
    try:
        versions = store.versions(name)
    except TaskFileError:
        return None
    alike = [version for version in versions if _record(store, version).get("trained") == said]
    current = next((version for version in versions if version.current), None)
    if not alike or current is None:
        return alike[-1] if alike else None
    return current if current in alike or store.history(name)[-1]["event"] == "rolled back" else alike[-1]


def outdated(store: Store, name: str, folder: Path, said: Record) -> bool:
    """Whether a folder holds another, finished training whose file is kept: then it may be deleted."""
    there = noted(folder)
    if there is None or there == said:
        return False
    return any(_record(store, version).get("trained") == there for version in store.versions(name))


def say_anew(plan: Plan, name: str, said: Record) -> None:
    """Print why a task that has a version is trained again."""
    store = store_of(plan.output)
    before = store.record(name) or {}
    if "trained" in before and (why := differences(before["trained"], said)):
        say(f"{name} is trained anew: {why}; the version before stays ({store.digest(name)})", "yellow")


def finished(plan: Plan, opened: Opened, task: Ready, said: Record, main: bool) -> Told | None:
    """A finished task's results from its version; None: it has to be trained.

    If its test data have changed, it is measured and published again.
    """
    store, name = store_of(plan.output), task.name
    version = settled(store, name, said)
    told = version and told_of(store, version)
    if version is None or told is None:
        return None
    kept = _record(store, version)
    if kept["trained"] != said:
        if main:
            again = f"to train it again: taskfold train {plan.path} --task {name} --fresh"
            say(f"{name}: rolled back to version {version.digest}, {told.said}; {again}", "yellow")
        return told
    if not version.current and main:
        store.publish(version.path, kept)
    how = "finished before"
    if kept["measured"] != _plain(task.measured):
        told, how = _measured(opened, task, version, told), "finished before, and measured on other test data"
        if main:
            publish(plan, opened.model, task, {**kept, "measured": task.measured, "told": told.as_json()})
    if main:
        say(f"{name}: {how}, {told.said}")
    return told


def _measured(opened: Opened, task: Ready, version: Version, told: Told) -> Told:
    model = opened.model
    model.remove_task(task.name)
    add_stored(model, version.path, opened.loaded, task.name)
    tested = task.test(model, task.batch)
    model[task.name].info.metrics |= named(tested)
    shown = task.show(model)
    if told.run is None:
        assert told.row is not None
        return Told.in_row(task, tested, told.row["cells"], shown, told.curve)
    scores = {**told.run["metrics"], **named(tested)}
    return Told.in_run(task, tested, {**told.run, "metrics": scores, "predictions": shown.predictions}, shown)


def told_of(store: Store, version: Version) -> Told | None:
    """The results kept with a version; None: none that can be used."""
    try:
        told = Told.of_json(_record(store, version)["told"])
    except (KeyError, TypeError):
        return None
    return told.named(version.task)


def publish(
    plan: Plan, model: MultiTask, task: Ready, record: Record | None = None, *, standalone: bool = False
) -> None:
    """Publish a task as the current version of its file, before the results that name it.

    The record gets `seen`: the keys of all samples that the task was trained on, or that chose its epoch.
    """
    store, keys = store_of(plan.output), {*task.keys("train"), *task.keys("val")}
    record = {**(record or {}), "seen": "".join(sorted(keys))}
    store.folder.mkdir(parents=True, exist_ok=True)
    with draft_of(store.path(task.name), folder=True) as draft:
        store.publish(model.save_task(task.name, draft / "task.safetensors", standalone=standalone), record)


def seen_by(file: Path) -> frozenset[str] | None:
    """The keys of the samples that a task file was trained on, from the record beside it; None: there is none."""
    header = read_header(file)
    for folder in (file.parent, file.parent.parent):  # a current file, or that of a version
        record = Store(folder).record(header["task"], header["digest"][:16]) or {}
        if isinstance(seen := record.get("seen"), str):
            return frozenset(seen[at : at + KEY] for at in range(0, len(seen), KEY))
    return None


def retire(plan: Plan) -> None:
    """Remove from the folder the files of tasks outside the configuration; their versions stay."""
    store, wanted = store_of(plan.output), {task.name for task in plan.parts}
    for name in store.names():
        if name not in wanted:
            say(f"{name} is not in {plan.path.name} any more: its file is taken out of {store.folder}", "yellow")
            store.remove(name)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _record(store: Store, version: Version) -> Record:
    return store.record(version.task, version.digest) or {}

"""Tables and figures of a results document, from the results of tasks."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import write_report
from ..tasks import Store, TaskFileError, write_atomically
from ._output import say
from ._scenes import merged_scenes
from ._told import Told
from ._versions import store_of, told_of

SERIES = 8
"""The most lines of a figure; more could not be distinguished."""
SAMPLES = 24
"""Rows of the table of samples."""
RESULTS, REPORT = "results.json", "report.html"
Curve = list[dict[str, Any]]


def retell(document: dict[str, Any], told: Mapping[str, Told], curves: Mapping[str, Curve], note: str) -> None:
    """Write the results of tasks into a results document, in their order."""
    document["tasks"] = [dict(one.task) for one in told.values()]
    document["runs"] = [dict(one.run) for one in told.values() if one.run is not None]
    document["confusions"] = [
        {"task": name, **one.confusion} for name, one in told.items() if one.confusion is not None
    ]
    document["comparisons"] = [*_tables(told, note), *_said(told)]
    document["studies"] = [study for study in [_losses(told, curves)] if study]
    if scenes := merged_scenes({name: one.shown for name, one in told.items() if one.shown.scenes}):
        document["scenes"] = [scenes]


def follow(output: Path, renamed: Mapping[str, str]) -> None:
    """Update results and report of a run to what its store holds, without training."""
    file, store = output / RESULTS, store_of(output)
    if not file.is_file():
        return
    document = json.loads(file.read_text(encoding="utf-8"))
    before = [renamed.get(task["name"], task["name"]) for task in document["tasks"]]
    names = dict.fromkeys([*(name for name in before if name in store.names()), *store.names()])
    told = {name: one for name in names if (one := _of(store, name)) is not None}
    if not told:
        say(f"{file} keeps what it said: no task in {store.folder} has scores", "yellow")
        return
    note = next((one["note"] for one in document["comparisons"] if one["first"] == "task"), "")
    studies = document["studies"]
    retell(document, told, {}, note)
    if not document["studies"]:  # only here are the curves of tasks trained together
        document["studies"] = [_study(one, renamed, told) for one in studies]
    routings = [
        {**one, "tasks": [renamed.get(name, name) for name in one["tasks"]]} for one in document.get("routing", [])
    ]
    document["routing"] = [one for one in routings if told.keys() >= {*one["tasks"]}]
    write_atomically(file, json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False).encode())
    if (output / REPORT).is_file():
        try:
            write_report(document, output / REPORT)
        except ImportError as error:
            say(f"The report stays as it was: {error}", "yellow")


def _of(store: Store, name: str) -> Told | None:
    try:
        return told_of(store, store.current(name))
    except TaskFileError:
        return None


def _study(study: Mapping[str, Any], renamed: Mapping[str, str], told: Collection[str]) -> dict[str, Any]:
    """The curves of remaining tasks, and of several tasks."""
    series = [{**one, "label": renamed.get(one["label"], one["label"])} for one in study["series"]]
    kept = [one for one in series if one["label"] in told or one["label"].startswith("mean of ")]
    return {**study, "series": kept or series}


def _tables(every: Mapping[str, Told], note: str) -> list[dict[str, Any]]:
    tables: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, told in every.items():
        if told.row is not None:
            tables.setdefault(told.row["table"], {})[name] = told.row
    notes = [note, *[""] * len(tables)]  # a note common to all tables is said once
    return [_of_rows(table, rows, note) for (table, rows), note in zip(tables.items(), notes, strict=False)]


def _of_rows(table: str, told: Mapping[str, Mapping[str, Any]], note: str) -> dict[str, Any]:
    found = {task: row["cells"] for task, row in told.items()}
    plain = {title for row in told.values() for title in row["plain"]}
    better = {title: more for row in told.values() for title, more in row["better"].items()}
    apart = plain - {"loss"}  # numbers in units of their own
    titles = list(dict.fromkeys(title for row in found.values() for title in row))
    columns = [{"title": t, "kind": _kind(t, plain), "best": _best(t, better, found)} for t in titles]
    rows = [{"label": task, "cells": [finite(row.get(t)) for t in titles]} for task, row in found.items()]
    if len(rows) > 1:
        means = [None if t in apart else _mean([row.get(t) for row in found.values()]) for t in titles]
        rows.append({"label": "mean", "cells": means})
    return {"title": table, "note": note, "first": "task", "columns": columns, "rows": rows}


def _said(every: Mapping[str, Told]) -> list[dict[str, Any]]:
    texts = {name: one.shown for name, one in every.items() if one.shown.rows}
    if not texts:
        return []
    each = max(1, SAMPLES // len(texts))
    rows = {
        f"{task}: {label}": cells for task, shown in list(texts.items())[:SAMPLES] for label, cells in shown.rows[:each]
    }
    titles = next(iter(texts.values())).titles
    return [
        {
            "title": "What they say",
            "note": "Test examples that nothing was chosen on.",
            "first": "input",
            "columns": list(titles),
            "rows": [{"label": label, "cells": cells} for label, cells in rows.items()],
        }
    ]


def _losses(every: Mapping[str, Told], more: Mapping[str, Curve]) -> dict[str, Any] | None:
    curves = {**more, **{name: list(one.curve) for name, one in every.items() if one.curve}}
    if not curves:
        return None
    chosen = list(curves.items())
    if len(chosen) > SERIES:
        chosen = [(name, curve) for name, curve in chosen if name.startswith("mean of ")][:SERIES] or chosen[:SERIES]
    series = [
        {"label": name, "x": [point["step"] for point in curve], "mean": [finite(point["val_loss"]) for point in curve]}
        for name, curve in chosen
    ]
    return {"title": "Validation loss", "x": "step", "y": "validation loss", "series": series}


def _best(title: str, better: Mapping[str, bool], rows: Mapping[str, Any]) -> str | None:
    """Marks the best values; with a single row, none."""
    if title not in better or len(rows) < 2:
        return None
    return "highest" if better[title] else "lowest"


def _kind(title: str, plain: Collection[str]) -> str:
    known = {
        "numbers": "count",
        "bits": "count",
        "bytes": "bytes",
        "seconds": "seconds",
        "mode": "number",
        "group": "number",
        "loss": "number",
    }
    return known.get(title, "number" if title in plain else "percent")


def finite(value: Any) -> Any:
    """The value for JSON, which has no infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mean(values: Sequence[Any]) -> float | None:
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return sum(numbers) / len(values) if numbers and len(numbers) == len(values) else None

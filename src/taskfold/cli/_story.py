"""What a run has come to, written down as it goes: results.json, and at the end a report."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..backbones import LoadedBackbone
from ..config import Plan
from ..model import MultiTask
from ..report import record, summary_table, write_report
from ..tasks import write_atomically
from ._output import say, show
from ._scenes import merged_scenes
from ._told import Told
from ._versions import store_of, told_of

SERIES = 8
"""Lines of a figure that can be told apart."""
NAMED = 3
"""Tasks that a note names; the others are counted."""
SAMPLES = 24
"""Rows of the table of samples."""
Curve = list[dict[str, Any]]


class Story:
    """The results document of a run.

    Args:
        plan: the configuration.
        command: what was called.
        loaded: the backbone.
    """

    def __init__(self, plan: Plan, command: str, loaded: LoadedBackbone) -> None:
        self.plan, self.start = plan, time.monotonic()
        self.told: dict[str, Told] = {}
        self.curves: dict[str, Curve] = {}
        self.note = ""
        self.document: dict[str, Any] = {
            "version": 1,
            "title": plan.path.stem,
            "command": f"taskfold {command} {plan.path.name}",
            "backbone": record.backbone_record(loaded),
            "tasks": [],
            "runs": [],
        }

    def tell(self, told: Told) -> None:
        """What came of a task; of one that was told already, instead of that."""
        self.told[told.task["name"]] = told

    def save(self, model: MultiTask) -> None:
        """Write the results so far: tasks in the order of the configuration, those of earlier runs among them."""
        store = store_of(self.plan.output)
        for name in store.names():
            if name not in self.told and (before := told_of(store, store.current(name))) is not None:
                self.tell(before)
        names = [task.name for task in self.plan.parts if task.name in self.told]
        self.told = {name: self.told[name] for name in names}
        told = self.told.values()
        self.document["tasks"] = [dict(one.task) for one in told]
        self.document["runs"] = [dict(one.run) for one in told if one.run is not None]
        self.document["confusions"] = [
            {"task": name, **one.confusion} for name, one in self.told.items() if one.confusion is not None
        ]
        self.document |= {"seconds": time.monotonic() - self.start, "environment": record.environment(model)}
        self.document["comparisons"] = [*self._table(), *self._said()]
        self.document["studies"] = [study for study in [self._losses()] if study]
        if scenes := merged_scenes({name: one.shown for name, one in self.told.items() if one.shown.scenes}):
            self.document["scenes"] = [scenes]
        text = json.dumps(self.document, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomically(self.plan.output / "results.json", text.encode())

    def finish(self) -> None:
        """Show the tables, write the report."""
        # What the network said is for the report.
        tables = [table for table in self.document["comparisons"] if table["first"] == "task"]
        show(summary_table({**self.document, "comparisons": tables}))
        try:
            report = write_report(self.document, self.plan.output / "report.html")
        except ImportError as error:
            say(f"No report: {error}", "yellow")
            return
        say(f"Task files are in {self.plan.output / 'tasks'}, the report is {report}")

    def _table(self) -> list[dict[str, Any]]:
        tables: dict[str, dict[str, Mapping[str, Any]]] = {}
        for name, told in self.told.items():
            if told.row is not None:
                tables.setdefault(told.row["table"], {})[name] = told.row
        notes = [self.note, *[""] * len(tables)]  # what holds for all tables is said once
        return [self._of_rows(table, rows, note) for (table, rows), note in zip(tables.items(), notes, strict=False)]

    def _of_rows(self, table: str, told: Mapping[str, Mapping[str, Any]], note: str) -> dict[str, Any]:
        found = {task: row["cells"] for task, row in told.items()}
        plain = {title for row in told.values() for title in row["plain"]}
        better = {title: more for row in told.values() for title, more in row["better"].items()}
        titles = list(dict.fromkeys(title for row in found.values() for title in row))
        columns = [{"title": t, "kind": _kind(t, plain), "best": _best(t, better, found)} for t in titles]
        rows = [{"label": task, "cells": [_plain(row.get(t)) for t in titles]} for task, row in found.items()]
        if len(rows) > 1:
            rows.append({"label": "mean", "cells": [_mean([row.get(t) for row in found.values()]) for t in titles]})
        return {"title": table, "note": note, "first": "task", "columns": columns, "rows": rows}

    def _said(self) -> list[dict[str, Any]]:
        texts = {name: one.shown for name, one in self.told.items() if one.shown.rows}
        if not texts:
            return []
        each = max(1, SAMPLES // len(texts))
        rows = {
            f"{task}: {label}": cells
            for task, shown in list(texts.items())[:SAMPLES]
            for label, cells in shown.rows[:each]
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

    def _losses(self) -> dict[str, Any] | None:
        curves = self.curves | {name: list(one.curve) for name, one in self.told.items() if one.curve}
        if not curves:
            return None
        chosen = list(curves.items())
        if len(chosen) > SERIES:
            chosen = [(name, curve) for name, curve in chosen if name.startswith("mean of ")][:SERIES] or chosen[
                :SERIES
            ]
        series = [
            {
                "label": name,
                "x": [point["step"] for point in curve],
                "mean": [_plain(point["val_loss"]) for point in curve],
            }
            for name, curve in chosen
        ]
        return {"title": "Validation loss", "x": "step", "y": "validation loss", "series": series}


def say_notes(tasks: Sequence[Mapping[str, Any]]) -> None:
    """What is odd about the data of tasks, each note once, with the tasks that it is of."""
    notes: dict[str, list[str]] = {}
    for task in tasks:
        for note in task.get("notes", ()):
            notes.setdefault(note, []).append(task["name"])
    for note, names in notes.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        say(f"Note: {', '.join(names[:NAMED])}{more}: {note}", "yellow")


def _best(title: str, better: Mapping[str, bool], rows: Mapping[str, Any]) -> str | None:
    """Whether high or low values are good; of a single row none is the best."""
    if title not in better or len(rows) < 2:
        return None
    return "highest" if better[title] else "lowest"


def _kind(title: str, plain: Collection[str]) -> str:
    known = {
        "numbers": "count",
        "bytes": "bytes",
        "seconds": "seconds",
        "mode": "number",
        "group": "number",
        "loss": "number",
    }
    return known.get(title, "number" if title in plain else "percent")


def points(curve: Curve) -> Curve:
    """A learning curve as a results document has it."""
    keys = ("epoch", "step", "train_loss", "val_loss", "val_accuracy")
    added = [{"penalty": _plain(point["penalty"])} if "penalty" in point else {} for point in curve]
    found = ({key: _plain(point.get(key)) for key in keys} for point in curve)
    return [one | more for one, more in zip(found, added, strict=True)]


def _plain(value: Any) -> Any:
    """JSON has no infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mean(values: Sequence[Any]) -> float | None:
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return sum(numbers) / len(values) if numbers and len(numbers) == len(values) else None

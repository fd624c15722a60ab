"""What a run has come to, written down as it goes: results.json, and at the end a report."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..backbones import LoadedBackbone
from ..config import Plan
from ..model import MultiTask
from ..report import record, summary_table, write_report
from ..tasks import write_atomically
from ._output import say, show
from ._ready import Ready, Shown, Tested
from ._scenes import merged_scenes

SERIES = 8
"""Lines of a figure that can be told apart."""
SAMPLES = 24
"""Rows of the table of samples."""
Curve = list[dict[str, Any]]


class Story:
    """The results document of a run.

    Args:
        plan: the configuration.
        command: what was called.
        loaded: the backbone.
        tasks: all of them.
    """

    def __init__(self, plan: Plan, command: str, loaded: LoadedBackbone, tasks: Sequence[Ready]) -> None:
        self.plan, self.start = plan, time.monotonic()
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.plain: set[str] = set()
        self.better: dict[str, bool] = {}
        self.samples: dict[str, Shown] = {}
        self.curves: dict[str, Curve] = {}
        self.note = ""
        self.document: dict[str, Any] = {
            "version": 1,
            "title": plan.path.stem,
            "command": f"taskfold {command} {plan.path}",
            "backbone": record.backbone_record(loaded),
            "tasks": [task.record for task in tasks],
            "runs": [],
        }
        for note in dict.fromkeys(note for task in self.document["tasks"] for note in task.get("notes", ())):
            say(f"Note: {note}", "yellow")

    def measured(self, task: str, tested: Tested) -> None:
        """Which classes a task takes for which."""
        if tested.confusion:
            found = {"task": task, "labels": tested.details["labels"], "cells": tested.confusion}
            self.document.setdefault("confusions", []).append(found)

    def run(self, run: Mapping[str, Any]) -> None:
        """One training of one task by itself."""
        self.document["runs"].append(dict(run))

    def row(self, task: str, cells: Mapping[str, Any], tested: Tested) -> None:
        """A task in the table of all that are measured alike."""
        measured = {tested.title(name): value for name, value in tested.metrics.items()}
        self.rows.setdefault(tested.table, {})[task] = {**cells, **measured}
        self.plain |= {tested.title(name) for name in tested.others}
        self.better |= {tested.title(name): more for name, more in tested.better.items()}

    def show(self, task: str, shown: Shown) -> None:
        """Samples, but for images with a class, which go with their run."""
        if shown.rows or shown.scenes:
            self.samples[task] = shown

    def save(self, model: MultiTask) -> None:
        """Write the results so far."""
        self.document |= {"seconds": time.monotonic() - self.start, "environment": record.environment(model)}
        self.document["comparisons"] = [*self._table(), *self._said()]
        self.document["studies"] = [study for study in [self._losses()] if study]
        if scenes := merged_scenes(self.samples):
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
        notes = [self.note, *[""] * len(self.rows)]  # what holds for all tables is said once
        return [self._of_rows(table, rows, note) for (table, rows), note in zip(self.rows.items(), notes, strict=False)]

    def _of_rows(self, table: str, found: Mapping[str, Mapping[str, Any]], note: str) -> dict[str, Any]:
        titles = list(dict.fromkeys(title for row in found.values() for title in row))
        columns = [{"title": title, "kind": self._kind(title), "best": self._best(title, found)} for title in titles]
        rows = [{"label": task, "cells": [_plain(row.get(t)) for t in titles]} for task, row in found.items()]
        if len(rows) > 1:
            rows.append({"label": "mean", "cells": [_mean([row.get(t) for row in found.values()]) for t in titles]})
        return {"title": table, "note": note, "first": "task", "columns": columns, "rows": rows}

    def _best(self, title: str, rows: Mapping[str, Any]) -> str | None:
        """Whether high or low values are good; of a single row none is the best."""
        if title not in self.better or len(rows) < 2:
            return None
        return "highest" if self.better[title] else "lowest"

    def _kind(self, title: str) -> str:
        known = {
            "numbers": "count",
            "bytes": "bytes",
            "seconds": "seconds",
            "mode": "number",
            "group": "number",
            "loss": "number",
        }
        return known.get(title, "number" if title in self.plain else "percent")

    def _said(self) -> list[dict[str, Any]]:
        texts = {task: shown for task, shown in self.samples.items() if shown.rows}
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
        if not self.curves:
            return None
        chosen = list(self.curves.items())
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

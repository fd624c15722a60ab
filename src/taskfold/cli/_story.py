"""The results of a run, written as it proceeds: results.json, and at the end a report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..backbones import LoadedBackbone
from ..config import Plan
from ..model import MultiTask
from ..report import record, summary_table, write_report
from ..tasks import write_atomically
from ._output import say, show
from ._retold import REPORT, RESULTS, Curve, finite, retell
from ._told import Told
from ._versions import store_of, told_of

NAMED = 3
"""The most tasks that a note names; the others are counted."""


class Story:
    """The results document of a run."""

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
        """Add a task's results, or replace them."""
        self.told[told.task["name"]] = told

    def save(self, model: MultiTask) -> None:
        """Write the results so far: tasks in the order of the configuration, with those of earlier runs."""
        store = store_of(self.plan.output)
        for name in store.names():
            if name not in self.told and (before := told_of(store, store.current(name))) is not None:
                self.tell(before)
        names = [task.name for task in self.plan.parts if task.name in self.told]
        self.told = {name: self.told[name] for name in names}
        retell(self.document, self.told, self.curves, self.note)
        self.document |= {"seconds": time.monotonic() - self.start, "environment": record.environment(model)}
        text = json.dumps(self.document, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomically(self.plan.output / RESULTS, text.encode())

    def finish(self) -> None:
        """Print the tables, and write the report."""
        # Remarks on the network are for the report.
        tables = [table for table in self.document["comparisons"] if table["first"] == "task"]
        show(summary_table({**self.document, "comparisons": tables}))
        try:
            report = write_report(self.document, self.plan.output / REPORT)
        except ImportError as error:
            say(f"No report: {error}", "yellow")
            return
        say(f"Task files are in {self.plan.output / 'tasks'}, the report is {report}")


def say_notes(tasks: Sequence[Mapping[str, Any]]) -> None:
    """Print each remark on the tasks' data once, with its tasks."""
    notes: dict[str, list[str]] = {}
    for task in tasks:
        for note in task.get("notes", ()):
            notes.setdefault(note, []).append(task["name"])
    for note, names in notes.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        say(f"Note: {', '.join(names[:NAMED])}{more}: {note}", "yellow")


def points(curve: Curve) -> Curve:
    """The points of a learning curve, for a results document."""
    keys = ("epoch", "step", "train_loss", "val_loss", "val_accuracy")
    added = [{"penalty": finite(point["penalty"])} if "penalty" in point else {} for point in curve]
    found = ({key: finite(point.get(key)) for key in keys} for point in curve)
    return [one | more for one, more in zip(found, added, strict=True)]

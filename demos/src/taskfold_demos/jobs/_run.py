"""Runs a demonstration from data to report."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taskfold.processes import side_by_side
from taskfold.report import record, summary_table, write_report
from taskfold.tasks import write_atomically
from taskfold.threads import Threads

from ..trainings import BACKBONE, Bench, Plan, Training
from ._records import Document


def run_demo(
    plan: Plan, out: Path, *, command: str = "taskfold demo", console: Console | None = None
) -> dict[str, Any]:
    """Train every method on every task, prove what is promised, and write `results.json`, `report.html` and `tasks/`.

    Args:
        plan: what to compare.
        out: folder, made if need be; files of an earlier demonstration are replaced.
        command: shown in the report.
        console: where to say what happens; None: standard output.

    Returns:
        The results document (see `taskfold.report.schema`).
    """
    with Threads(None):  # what tests a task has as many threads as its training ended with
        return _Demo(plan, out, console or Console()).run(command)


class _Demo:
    def __init__(self, plan: Plan, out: Path, console: Console) -> None:
        self.plan, self.out, self.console = plan, out, console
        (out / "tasks").mkdir(parents=True, exist_ok=True)
        self.bench = Bench(plan)
        for name, why in self.bench.missing.items():
            console.print(f"[yellow]{name} is left out:[/] {why}", highlight=False)
        served = [entry for entry in plan.entries if entry.label.startswith("FTN")][-1]
        quiet = True if plan.processes > 1 else None
        self.trainings = [
            Training(entry, seed, out, keep=entry is served and seed == plan.seeds[0], quiet=quiet)
            for seed in plan.seeds
            for entry in plan.entries
        ]
        self.found: list[Document] = [{"runs": []} for _ in self.trainings]

    def run(self, command: str) -> dict[str, Any]:
        started = time.perf_counter()
        last = len(self.trainings) - 1  # methods that train more of the network stand last, and take longest
        bar = self._bar()
        counted = bar.add_task("trainings", total=len(self.trainings) * len(self.bench.data))
        with bar, closing(side_by_side(self.bench, self.trainings[::-1], self.plan.processes)) as steps:
            for place, (said, part) in steps:
                found = self.found[last - place]
                found |= {**part, "runs": found["runs"] + part.get("runs", [])}
                self._write(command, started)
                bar.advance(counted, len(part.get("runs", ())))
                if said:
                    self.console.print(said, highlight=False)
        results = self._write(command, started)
        report = write_report(results, self.out / "report.html")
        self._say(results, report)
        return results

    def _bar(self) -> Progress:
        """Counts trainings; in one process each has a bar of its own."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        silent = self.plan.processes == 1 or not self.console.is_terminal
        return Progress(*columns, console=self.console, disable=silent)

    def _write(self, command: str, started: float) -> dict[str, Any]:
        """The results so far, after every training: a demonstration that is stopped leaves what it found."""
        bench, served = self.bench, next((one for one in self.found if "isolation" in one), {})
        results = {
            "version": 1,
            "title": f"{len(bench.data)} tasks on one frozen {BACKBONE.partition(':')[2]}",
            "command": command,
            "seconds": time.perf_counter() - started,
            "environment": record.environment(bench.network)
            | {"image_size": self.plan.size, "epochs": self.plan.epochs},
            "backbone": record.backbone_record(bench.loaded),
            "tasks": [record.task_record(data, self.plan.sources[name].origin) for name, data in bench.data.items()],
            "runs": [run for one in self.found for run in one["runs"]],
            "isolation": served.get("isolation", []),
            "mixed_batch": served.get("mixed_batch"),
        }
        write_atomically(self.out / "results.json", json.dumps(results, indent=1).encode())
        return results

    def _say(self, results: dict[str, Any], report: Path) -> None:
        self.console.print()
        self.console.print(summary_table(results))
        same = sum(one["identical"] for one in results["isolation"])
        self.console.print(
            f"No forgetting: {same} of {len(results['isolation'])} tasks bit-identical after all later training."
        )
        if (mixed := results["mixed_batch"]) is not None:
            self.console.print(
                f"Mixed batch in a fresh process: {mixed['rows']} rows of {len(mixed['tasks'])} tasks, "
                f"{mixed['agreement']:.0%} the same class, "
                f"largest difference in probability {mixed['max_abs_difference']:.1e}."
            )
        self.console.print(f"Report: {report}   Task files: {self.out / 'tasks'}   {results['seconds']:.0f} s in all")

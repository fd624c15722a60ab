"""Runs the demonstration of dense prediction from rendered rooms to report."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from rich.console import Console

from taskfold.report import summary_table, write_report
from taskfold.tasks import write_atomically

from ._dense_plan import DensePlan
from ._dense_results import dense_document
from ._dense_stages import DenseBench
from ._records import Document, Record


def run_dense_demo(
    plan: DensePlan, out: Path, *, command: str = "taskfold demo dense", console: Console | None = None
) -> Document:
    """Render rooms, train every method on them, and write `results.json`, `report.html` and task files.

    Args:
        plan: what to compare.
        out: folder, made if need be; files of an earlier demonstration are replaced.
        command: shown in the report.
        console: where to say what happens; None: standard output.

    Returns:
        The results document (see `taskfold.report.schema`).
    """
    started = time.perf_counter()
    screen = console or Console()

    def say(text: str) -> None:
        screen.print(text, highlight=False)

    out.mkdir(parents=True, exist_ok=True)
    say(f"Rendering {plan.train + plan.val + plan.test} rooms, unless they are there from before …")
    processes = max(1, min(4, (os.cpu_count() or 1)))
    bench = DenseBench(plan, None, out / "networks", processes=processes, quiet=None, say=say)
    records, results = list[Record](), Document()
    for seed in plan.seeds:
        for contender in plan.contenders:
            keep = out / "tasks" / contender.label.replace(" ", "-") if seed == plan.seeds[0] else None
            records.append(bench.run(contender, seed, keep=keep))
            seconds = time.perf_counter() - started
            title = f"{plan.network} on rendered rooms: three tasks, {len(plan.contenders)} ways to train them"
            results = dense_document(bench, records, title=title, command=command, seconds=seconds)
            # After every method: a demonstration that is stopped leaves what it found.
            write_atomically(out / "results.json", json.dumps(results, indent=1, ensure_ascii=False).encode())
    report = write_report(results, out / "report.html")
    screen.print()
    screen.print(summary_table(results))
    for run in records:
        if "failed" not in run and run["name"] == "over-parameterised":
            counted, worst = run["parameters"], max(run["contraction"].values())
            say(
                f"{run['label']}, seed {run['seed']}: {counted['training']:,} numbers in training; each task contracts "
                f"to the plain network of {counted['contracted']:,}, largest difference of an output {worst:.0e}."
            )
    say(f"Report: {report}   Task files: {out / 'tasks'}   {results['seconds']:.0f} s in all")
    return results

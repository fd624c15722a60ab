"""Tables, report and pictures of what dense.py has measured so far.

    python experiments/dense_table.py
    python experiments/dense_table.py --plan frozen

Writes results/dense-PLAN.json (all but the pictures), runs/dense-PLAN-report.html and docs/images/dense-PLAN-*.svg.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dense_runs import RUNS, bench, records
from rich.console import Console

from taskfold.report import read_results, summary_table, write_report
from taskfold.tasks import write_atomically
from taskfold_demos.figures import gains
from taskfold_demos.jobs import dense_document, dense_plan

HERE = Path(__file__).parent

parser = argparse.ArgumentParser()
parser.add_argument("--plan", choices=("full", "frozen"), default="full")
parser.add_argument("--rooms", type=Path, help="folder of the rooms; default: the user's cache")
asked = parser.parse_args()

name = f"dense-{asked.plan}"
found = records(name)
order = [one.label for one in dense_plan(asked.plan, compare="all").contenders]
seeds = tuple(sorted({one["seed"] for one in found}))
plan = dense_plan(asked.plan, seeds=seeds, compare="all")
found.sort(key=lambda one: (order.index(one["label"]), one["seed"]))
document = dense_document(
    bench(plan, asked.rooms, name),
    found,
    title=f"{plan.network} on rendered rooms: three tasks, {len(order)} ways to train them",
    command=f"python experiments/dense.py --plan {asked.plan}",
)
write_report(document, RUNS / f"{name}-report.html")
numbers = {key: value for key, value in document.items() if key != "scenes"}
numbers["records"] = [{key: value for key, value in one.items() if key != "pictures"} for one in found]
write_atomically(HERE / "results" / f"{name}.json", json.dumps(numbers, indent=1, ensure_ascii=False).encode())
results = read_results(document)
for part in getattr(results, "gains", ()):
    figure = gains.figure(results, part)
    assert figure is not None
    path = HERE.parent / "docs" / "images" / f"{name}-gains.svg"
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
Console().print(summary_table(document))

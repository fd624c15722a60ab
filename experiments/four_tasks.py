"""Four tasks on one frozen EfficientNet-lite0: every method, three seeds.

    python experiments/four_tasks.py             all seeds, one after another
    python experiments/four_tasks.py 1           one seed, in a process of its own; the table is of all that are there

The same as `taskfold demo --compare all --seeds 3`. Learning rates come from learning_rates.py; epochs are selected
on validation data, the table is of held-out test data. Each seed leaves its report and task files in
runs/four_tasks/seed-N; together they make results/four_tasks.json, runs/four_tasks/report.html and the picture in
the README.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from taskfold.report import read_results, summary_table, write_report
from taskfold.report.figures import parameters
from taskfold_demos.jobs import plan, run_demo

SEEDS = (0, 1, 2)
HERE = Path(__file__).parent
RUNS = HERE / "runs" / "four_tasks"
RESULTS = HERE / "results" / "four_tasks.json"
PICTURE = HERE.parent / "docs" / "images" / "accuracy-against-parameters.svg"
COMMAND = "python experiments/four_tasks.py"

for seed in map(int, sys.argv[1:]) if sys.argv[1:] else SEEDS:
    run_demo(plan("all", seeds=(seed,)), RUNS / f"seed-{seed}", command=f"{COMMAND} {seed}")

documents: list[dict[str, Any]] = [
    json.loads(path.read_text()) for path in sorted(RUNS.glob("seed-*/results.json")) if path.is_file()
]
merged = documents[0] | {
    "command": COMMAND,
    "seconds": sum(document["seconds"] for document in documents),
    "runs": [run for document in documents for run in document["runs"]],
}
for run in merged["runs"]:  # figures of layers are of the first seed
    run["layers"] = run.get("layers", []) if run["seed"] == SEEDS[0] else []
write_report(merged, RUNS / "report.html")
for run in merged["runs"]:  # pictures of test images belong to the report, not to the numbers
    run.pop("predictions", None)
RESULTS.write_text(json.dumps(merged, indent=1))
figure = parameters.figure(read_results(RESULTS))
if figure is not None:
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, bbox_inches="tight", metadata={"Date": None})
Console().print(summary_table(merged))

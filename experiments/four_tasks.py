"""Four tasks on one frozen EfficientNet-lite0: every method, three seeds.

    python experiments/four_tasks.py

The same as `taskfold demo --compare all --seeds 3`. Learning rates come from learning_rates.py; epochs are selected
on validation data, the table is of held-out test data. Writes results/four_tasks.json and
the README's picture; the report is runs/four_tasks/report.html.
"""

from __future__ import annotations

import json
from pathlib import Path

from taskfold.demo import plan, run_demo
from taskfold.report import read_results
from taskfold.report.figures import parameters

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "images" / "accuracy-against-parameters.svg"

OUT = HERE / "runs" / "four_tasks"  # task files and the report with its pictures; not kept in the repository

results = run_demo(plan("all", seeds=3), OUT, command="python experiments/four_tasks.py")
for run in results["runs"]:  # pictures of test images belong to the report, not to the numbers
    run.pop("predictions", None)
(HERE / "results" / "four_tasks.json").write_text(json.dumps(results, indent=1))
figure = parameters.figure(read_results(HERE / "results" / "four_tasks.json"))
if figure is not None:
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, bbox_inches="tight", metadata={"Date": None})

"""Tables, report and pictures of what routing.py and routing_variants.py have measured so far.

    python experiments/routing_table.py

Writes results/routing.json (all but the routing weights), runs/routing-report.html and docs/images/routing-*.svg.
"""

from __future__ import annotations

import json

from matplotlib.figure import Figure
from rich.console import Console
from routing_runs import FOLDER, HERE, PLAN, records

from taskfold import backbones
from taskfold.report import read_results, summary_table, write_report
from taskfold.report.figures import clusters, studies
from taskfold.tasks import write_atomically
from taskfold_demos.figures import comparison
from taskfold_demos.jobs import contenders, routing_document

SHOWN = ("Validation loss by method", "Validation loss against tensor rank", "Exact match against order")
IMAGES = HERE.parent / "docs" / "images"


def picture(name: str, figure: Figure | None) -> None:
    """One for the documentation."""
    assert figure is not None
    figure.savefig(IMAGES / f"routing-{name}.svg", bbox_inches="tight", metadata={"Date": None})


found = records()
order = list(contenders())
main = sorted((one for one in found if "study" not in one), key=lambda one: (order.index(one["label"]), one["seed"]))
sizes = [one for one in found if one.get("study") == "size"]
sizes += [one for one in main if one["label"] == "TensorPoly-I" and one["seed"] == 0]
document = routing_document(
    PLAN,
    main,
    json.loads((FOLDER.parent / "routing-baselines.json").read_text()),
    sizes,
    [one for one in found if one.get("study") == "variant"],
    backbones.load("packaged:lemma-t5"),
    command="python experiments/routing.py",
)
write_report(document, FOLDER.parent / "routing-report.html")
numbers = document | {"routing": [], "records": [{k: v for k, v in one.items() if k != "routing"} for one in found]}
write_atomically(HERE / "results" / "routing.json", json.dumps(numbers, indent=1, ensure_ascii=False).encode())
results = read_results(document)
picture("transfer", comparison.figure(results, results.comparisons[0]))
for study in results.studies:
    if study.title in SHOWN:
        picture(study.title.lower().replace(" ", "-"), studies.figure(results, study))
for routing in results.routing:
    if routing.label == "TensorPoly-I":
        picture("languages", clusters.figure(routing))
Console().print(summary_table(document))

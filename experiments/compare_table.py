"""A comparison in short: scores of each method by task and seed, and paired differences from one of them.

    python experiments/compare_table.py compare_few_shot "LoRA R=16"     # after `taskfold compare`

Reads runs/<name>/results.json, which `taskfold compare experiments/<name>.yaml` writes, and writes
results/<name>.json. Differences are paired over tasks and seeds; ± is one standard error of their mean.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev

from taskfold.report import read_results
from taskfold.tasks import write_atomically

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("name", help="of the comparison")
parser.add_argument("against", help="label of the method that others are compared with")
asked = parser.parse_args()
found = read_results(HERE / "runs" / asked.name / "results.json")
scores: dict[str, dict[tuple[str, int], float]] = {}
losses: dict[str, list[float]] = {}
for run in found.runs:
    scores.setdefault(run.label, {})[run.task, run.seed] = run.metrics["test_accuracy"]
    losses.setdefault(run.label, []).append(run.metrics["val_loss"])
if asked.against not in scores:
    parser.error(f"there is no method {asked.against!r}; there are {', '.join(scores)}")
numbers = {
    run.label: sum(count for group, count in run.parameters.items() if group not in ("head", "backbone"))
    for run in found.runs
}
rows = []
print(f"| method | numbers per task | validation loss | test, % | less {asked.against} |\n|---|---|---|---|---|")
for label, mine in scores.items():
    over_seeds = [fmean(v for (_, seed), v in mine.items() if seed == one) for one in sorted({s for _, s in mine})]
    apart = [value - scores[asked.against][place] for place, value in mine.items()]
    mean, error = fmean(apart), stdev(apart) / len(apart) ** 0.5
    score, spread, loss = fmean(mine.values()), stdev(over_seeds), fmean(losses[label])
    differs = "" if label == asked.against else f"{100 * mean:+.1f} ± {100 * error:.1f}"
    print(f"| {label} | {numbers[label]:,} | {loss:.3f} | {100 * score:.1f} ± {100 * spread:.1f} | {differs} |")
    rows.append(
        {"method": label, "numbers": numbers[label], "val_loss": loss, "test": score, "std over seeds": spread}
        | {"paired difference": mean, "standard error": error, "pairs": len(apart)}
        | {"tests": [{"task": task, "seed": seed, "test": value} for (task, seed), value in mine.items()]}
    )
written = {"command": found.command, "against": asked.against, "conclusion": found.conclusion, "methods": rows}
write_atomically(HERE / "results" / f"{asked.name}.json", json.dumps(written, indent=1).encode())

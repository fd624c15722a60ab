"""Learning rates for the experiments on rendered rooms, chosen by the validation loss of short trainings.

    OMP_NUM_THREADS=1 python experiments/dense_rates.py      # start it twice to use two cores
    OMP_NUM_THREADS=1 python experiments/dense_rates.py --plan frozen

Four epochs, seed 0, no test scores. The sum of the tasks' losses on the validation rooms is printed at the end; the
rates that it chose stand in `taskfold_demos.jobs`'s plan.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from claimed import claimed
from dense_runs import RUNS, bench, say

from taskfold.tasks import write_atomically
from taskfold_demos.jobs import dense_plan

Rates = tuple[float, ...]
SWEPT: dict[str, dict[str, tuple[Rates, Rates]]] = {
    "full": {
        "multi-task": ((1e-3, 3e-3, 1e-2), ()),
        "single task": ((1e-3, 3e-3), ()),
        "over-parameterised, joint": ((1e-3, 3e-3), (1e-2, 1e-1)),
        "ExpandNet": ((3e-4, 1e-3, 3e-3), ()),
        "RepVGG": ((1e-3, 3e-3), ()),
        "FTN R=10": ((3e-3, 1e-2, 3e-2), ()),
        "decoder only": ((3e-3, 1e-2), ()),
        "decoder + norm": ((3e-3, 1e-2), ()),
        "over-parameterised": ((), (1e-2, 3e-2, 1e-1)),
    },
    "frozen": {
        "single task": ((3e-4, 1e-3, 3e-3, 1e-2), ()),
        "FTN R=10": ((3e-3, 1e-2, 3e-2), ()),
        "decoder + norm": ((3e-3, 1e-2, 3e-2), ()),
        "decoder only": ((3e-3, 1e-2, 3e-2), ()),
    },
}
"""Learning rates, at a rate of the diagonals of 1e-2; and rates of the diagonals, at the method's own learning rate."""

parser = argparse.ArgumentParser()
parser.add_argument("--plan", choices=tuple(SWEPT), default="full")
parser.add_argument("--rooms", type=Path, help="folder of the rooms; default: the user's cache")
parser.add_argument("--only", nargs="+", metavar="METHOD", help="default: all")
asked = parser.parse_args()

folder = "dense-rates" if asked.plan == "full" else f"dense-{asked.plan}-rates"
plan = replace(dense_plan(asked.plan, compare="all"), epochs=4)
rooms = bench(plan, asked.rooms, folder)
known = {one.label: one for one in plan.contenders}
for label in asked.only or SWEPT[asked.plan]:
    own = known[label]
    rates, diagonals = SWEPT[asked.plan][label]
    tried = [replace(own, lr=lr, diagonal=1e-2) for lr in rates] + [replace(own, diagonal=d) for d in diagonals]
    for one in tried:
        name = f"{label} lr {one.lr:g} diagonal {one.diagonal:g}".replace(" ", "-").replace("=", "-").replace(",", "")
        with claimed(RUNS / folder / f"{name}.json") as path:
            if path:
                loss = rooms.train(one, 0)[1]["val_loss"]
                write_atomically(
                    path, json.dumps({"label": label, "lr": one.lr, "diagonal": one.diagonal, "loss": loss}).encode()
                )
                say(f"{name}: {loss:.4f}")
done = [json.loads(text) for path in sorted((RUNS / folder).glob("*.json")) if (text := path.read_text())]
for found in done:
    print(f"{found['label']:28} lr {found['lr']:<7g} diagonal {found['diagonal']:<7g} {found['loss']:.4f}")
write_atomically(RUNS.parent / "results" / f"{folder}.json", json.dumps(done, indent=1).encode())

"""Learning rates for the experiments on rendered rooms, chosen by the validation loss of short trainings.

    OMP_NUM_THREADS=1 python experiments/dense_rates.py      # start it twice to use two cores

Four epochs, seed 0, no test scores. The sum of the tasks' losses on the validation rooms is printed at the end; the
rates that it chose stand in `taskfold.demo`'s plan.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from claims import claimed
from dense_runs import RUNS, bench, say

from taskfold.demo import dense_contenders, dense_plan
from taskfold.tasks import write_atomically

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SWEPT = (
    "multi-task",
    "single task",
    "over-parameterised, joint",
    "ExpandNet",
    "RepVGG",
    "over-parameterised",
    "FTN R=10",
)
DIAGONALS = (1e-3, 1e-2, 1e-1, 3e-1)

parser = argparse.ArgumentParser()
parser.add_argument("--rooms", type=Path, help="folder of the rooms; default: the user's cache")
parser.add_argument("--only", nargs="+", metavar="METHOD", default=SWEPT, choices=list(dense_contenders()))
parser.add_argument("--diagonals", action="store_true", help="learning rates of the diagonals, at the method's own")
asked = parser.parse_args()

rooms = bench(replace(dense_plan("full", compare="all"), epochs=4), asked.rooms)
for label in asked.only:
    own = dense_contenders()[label]
    tried = [replace(own, diagonal=d) for d in DIAGONALS] if asked.diagonals else [replace(own, lr=lr) for lr in RATES]
    for one in tried:
        name = f"{label} lr {one.lr:g} diagonal {one.diagonal:g}".replace(" ", "-").replace("=", "-").replace(",", "")
        with claimed(RUNS / "dense-rates" / f"{name}.json") as path:
            if path:
                loss = rooms.train(one, 0)[1]["val_loss"]
                write_atomically(
                    path, json.dumps({"label": label, "lr": one.lr, "diagonal": one.diagonal, "loss": loss}).encode()
                )
                say(f"{name}: {loss:.4f}")
done = [json.loads(text) for path in sorted((RUNS / "dense-rates").glob("*.json")) if (text := path.read_text())]
for found in done:
    print(f"{found['label']:28} lr {found['lr']:<7g} diagonal {found['diagonal']:<7g} {found['loss']:.4f}")
write_atomically(RUNS.parent / "results" / "dense-rates.json", json.dumps(done, indent=1).encode())

"""Learning rates of routing.py, chosen by the loss on validation words.

    OMP_NUM_THREADS=1 python experiments/routing_rates.py     # start it twice to use two cores

One seed. Joint training at several rates of factors and routing; then, from the best, transfer from 64 words.
`taskfold_demos.jobs.contenders` holds what came out; all of it is in results/routing-rates.json when the last process
is done.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from routing_runs import HERE, bench, claimed, say

from taskfold.tasks import write_atomically
from taskfold_demos.jobs import Bench, Contender, contenders

FOLDER = HERE / "runs" / "routing-rates"
TOGETHER = {
    "LoRA shared": [(1e-2, 1.0), (2e-2, 1.0)],
    "LoRA private": [(5e-2, 1.0), (1e-1, 1.0)],
    "TLoRA shared": [(2e-2, 1.0), (5e-2, 1.0)],
    "Poly": [(2e-2, 0.1), (2e-2, 1.0), (5e-2, 1.0)],
    "MHR": [(2e-2, 1.0), (5e-2, 1.0)],
    "TensorPoly-I": [(2e-2, 1.0), (5e-2, 0.1), (5e-2, 1.0), (1e-1, 1.0)],
    "TensorPoly-II": [(2e-2, 1.0), (5e-2, 1.0)],
}
"""Rates of factors and of routing."""
FACTORS = [(3e-3, 1.0), (1e-2, 1.0), (3e-2, 1.0)]
ROUTING = [(1e-2, 0.3), (1e-2, 1.0), (1e-2, 3.0)]
SHOTS = 64


def sweep(words: Bench, contender: Contender) -> dict[str, Any]:
    """What each pair of rates came to."""
    found: dict[str, Any] = {"label": contender.label, "together": [], "transfer": []}
    best = None
    for lr, routing in TOGETHER[contender.label]:
        model, trained = words.train(replace(contender, lr=lr, routing=routing), 0)
        found["together"].append({"factors": lr, "routing": routing, "val_loss": trained["val_loss"]})
        say(f"{contender.label} {found['together'][-1]}")
        if best is None or trained["val_loss"] < best[0]:
            best = trained["val_loss"], model
    assert best is not None
    for way in contender.ways:
        for lr, routing in ROUTING if way == "z" else FACTORS:
            tried = replace(contender, ways={way: (lr, routing)})
            loss = words.transfer(tried, best[1], way, SHOTS, 0, test=False)["val_loss"]
            found["transfer"].append({"way": way, "factors": lr, "routing": routing, "val_loss": loss})
            say(f"{contender.label} {found['transfer'][-1]}")
    return found


words = bench()
for label in TOGETHER:
    with claimed(FOLDER / f"{label}.json") as path:
        if path:
            write_atomically(path, json.dumps(sweep(words, contenders()[label])).encode())
done = [text for label in TOGETHER if (text := (FOLDER / f"{label}.json").read_text())]
if len(done) == len(TOGETHER):
    results = json.dumps([json.loads(text) for text in done], indent=1)
    write_atomically(HERE / "results" / "routing-rates.json", results.encode())

"""Learning rates of the demonstration's methods, chosen on validation data.

    python experiments/learning_rates.py             all methods
    python experiments/learning_rates.py "FTN R=4"   those of these names, in a process of its own

Of each method the rate of its factors (or of the weights that it copies) and that of its normalisation and head, each
in steps of two, from those of the plan: both neighbours of the best are tried, so that it never lies at the edge. A
point is the mean of two tasks, seed 0, by validation accuracy; test data are not looked at. What has been tried is kept
in results/learning_rates.json and is not tried again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from taskfold import MultiTask, backbones
from taskfold.data import ImageTensors, Preprocessing
from taskfold.train import DivergedError, group_rates, train_task
from taskfold_demos.jobs import Entry, plan

OUT = Path(__file__).parent / "results" / "learning_rates.json"
TASKS = ("animals", "fashion-mnist")
STEP = 2.0

demo = plan("all")
backbone = backbones.load("packaged:efficientnet-lite0")
preprocessing = Preprocessing.from_config(backbone.preprocessing or {}, size=demo.size)


@cache
def images(name: str) -> tuple[ImageTensors, ImageTensors, int]:
    """Training and validation images, and the number of classes."""
    data = demo.sources[name].load(name)
    train, val = (ImageTensors(each, preprocessing) for each in (data.train, data.val))
    return train, val, len(data.labels)


def accuracy(entry: Entry, name: str) -> float | None:
    """The best of the epochs on validation data; None: the training diverged."""
    train, val, classes = images(name)
    torch.manual_seed(0)
    model = MultiTask(backbone.network, entry.method)
    model.add_task(name, head=classes)
    settings = entry.settings(demo, seed=0).only(group_rates(model, [name]))
    try:
        return train_task(model, name, train, val, settings).best["val_accuracy"]
    except DivergedError:
        return None


def tried() -> list[dict[str, object]]:
    """Everything there is so far."""
    return json.loads(OUT.read_text()) if OUT.is_file() else []


def point(entry: Entry, lr: float, others: float) -> float:
    """The mean accuracy of two tasks at these rates; what diverged counts as nothing."""
    found: list[float] = []
    for name in TASKS:
        key = {"task": name, "method": entry.label, "lr": lr, "others": others}
        known = next((one for one in tried() if key.items() <= one.items()), None)
        if known is None:
            known = {
                **key,
                "val_accuracy": accuracy(replace(entry, lr=lr, others=others), name),
                "images": len(images(name)[1]),
            }
            OUT.write_text(json.dumps([*tried(), known], indent=1))
            print(
                f"{entry.label:>16} factors {lr:<8g} others {others:<8g} {name:>14} {known['val_accuracy']}", flush=True
            )
        found.append(float(str(known["val_accuracy"] or 0.0)))
    return sum(found) / len(found)


def search(entry: Entry) -> tuple[float, float, float]:
    """The best rates, better than their neighbours in both directions; and the accuracy there."""
    has_factors = entry.label not in ("head only", "head + norm")
    lr, others = entry.lr, entry.others
    while True:
        around = [(lr, others), (lr, others * STEP), (lr, others / STEP)]
        around += [(lr * STEP, others), (lr / STEP, others)] if has_factors else []
        best = max(around, key=lambda rates: point(entry, *rates))
        if best == (lr, others):
            return lr, others, point(entry, lr, others)
        lr, others = best


if __name__ == "__main__":
    for entry in demo.entries:
        if not sys.argv[1:] or entry.label in sys.argv[1:]:
            lr, others, best = search(entry)
            print(f"{entry.label:>16}: factors {lr:g}, others {others:g}, {best:.1%}", flush=True)

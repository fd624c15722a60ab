"""Learning rates of the demonstration's methods, chosen on validation data.

    python experiments/learning_rates.py

For each method that trains weights, three learning rates of its factors on the hardest of the
demonstration's tasks, seed 0. Test data are not looked at. Writes results/learning_rates.json.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from taskfold import MultiTask, backbones
from taskfold.data import ImageTensors, Preprocessing
from taskfold.train import group_rates, train_task
from taskfold_demos.jobs import plan

OUT = Path(__file__).parent / "results" / "learning_rates.json"
RATES = {"FTN R=16": (5e-3, 1e-2, 2e-2), "FTN R=1": (1e-2, 2e-2, 4e-2), "LoRA r=4": (5e-3, 1e-2, 2e-2)}
RATES["fine-tuning"] = (1e-3, 2e-3, 4e-3)
TASKS = ("animals",)

demo = plan("all")
backbone = backbones.load("packaged:efficientnet-lite0")
preprocessing = Preprocessing.from_config(backbone.preprocessing or {}, size=demo.size)
found: list[dict[str, object]] = []
for name in TASKS:
    data = demo.sources[name].load(name)
    train, val = (ImageTensors(images, preprocessing) for images in (data.train, data.val))
    for entry in demo.entries:
        for lr in RATES.get(entry.label, ()):
            torch.manual_seed(0)
            model = MultiTask(backbone.network, entry.method)
            model.add_task(name, head=len(data.labels))
            settings = replace(entry, lr=lr).settings(demo, seed=0).only(group_rates(model, [name]))
            result = train_task(model, name, train, val, settings)
            accuracy = result.best["val_accuracy"]
            found.append(
                {"task": name, "method": entry.label, "lr": lr, "val_accuracy": accuracy, "val_images": len(val)}
            )
            print(f"{name:>10} {entry.label:>12} lr {lr:<6} {accuracy:.1%} on validation", flush=True)
            OUT.write_text(json.dumps(found, indent=1))
for label, rates in RATES.items():
    means = {
        lr: sum(float(str(one["val_accuracy"])) for one in found if (one["method"], one["lr"]) == (label, lr))
        / len(TASKS)
        for lr in rates
    }
    best = max(means, key=lambda lr: means[lr])
    print(f"{label:>12}: lr {best}   " + "  ".join(f"{lr}: {mean:.1%}" for lr, mean in means.items()))

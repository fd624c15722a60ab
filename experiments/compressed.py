"""What it costs in accuracy to put tasks on a common basis: the tasks of four_tasks.py, compressed to several ranks.

    OMP_NUM_THREADS=1 python experiments/compressed.py        # after four_tasks.py, whose task files it reads

FTN of the largest rank on a frozen EfficientNet-lite0, four tasks, all seeds that have been trained. Test accuracy and
numbers of a task: its core and normalisation, with a quarter of the basis. Writes results/compressed.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

import taskfold as tfold
from taskfold import backbones
from taskfold.data import ImageTensors, Preprocessing
from taskfold.tasks import write_atomically
from taskfold_demos.jobs import plan

HERE = Path(__file__).parent
RANKS = (4, 8, 16, 32, 48)

demo = plan("all")
backbone = backbones.load("packaged:efficientnet-lite0")
preprocessing = Preprocessing.from_config(backbone.preprocessing or {}, size=demo.size)


@torch.inference_mode()
def accuracy(model: tfold.MultiTask, name: str, test: ImageTensors) -> float:
    """In %."""
    right = sum(int((model(x, task=name).argmax(1) == y).sum()) for x, y in DataLoader(test, batch_size=100))
    return 100 * right / len(test)


def measured(model: tfold.MultiTask, tests: dict[str, ImageTensors], shared: int) -> dict[str, Any]:
    counts = [model[name].counts() for name in tests]
    mean = fmean(sum(v for key, v in one.items() if key not in ("head", "routing")) for one in counts)
    found = {name: accuracy(model, name, test) for name, test in tests.items()}
    return {"accuracy": found, "parameters": round(mean + shared / len(tests))}


if __name__ == "__main__":
    torch.set_num_threads(1)
    records: list[dict[str, Any]] = []
    for folder in sorted((HERE / "runs" / "four_tasks").glob("seed-*/tasks")):
        seed = int(folder.parent.name.removeprefix("seed-"))
        model = tfold.MultiTask(backbone.network, features=backbone.features, num_features=backbone.num_features)
        files = sorted(folder.glob("*.safetensors"))
        if {file.stem for file in files} != demo.sources.keys():
            continue  # not all are trained yet
        tests = {}
        for file in files:
            model.load_task(file)
            tests[file.stem] = ImageTensors(demo.sources[file.stem].load(file.stem, seed=seed).test, preprocessing)
        model.eval()
        records.append({"seed": seed, "rank": None, **measured(model, tests, 0)})
        for rank in RANKS:
            small, errors = model.compress_tasks(rank=rank)
            basis = sum(parameter.numel() for parameter in small.inventory.parameters())
            records.append({"seed": seed, "rank": rank, "errors": errors, **measured(small.eval(), tests, basis)})
            print(records[-1], flush=True)
    document = {"command": "python experiments/compressed.py", "records": records}
    write_atomically(HERE / "results" / "compressed.json", json.dumps(document, indent=1).encode())
    table = Table("rank of the basis", "numbers per task", "mean error of updates", "mean accuracy, %")
    for rank in (None, *RANKS):
        mine = [one for one in records if one["rank"] == rank]
        means = [fmean(one["accuracy"].values()) for one in mine]
        errors = [fmean(one["errors"].values()) for one in mine if rank]
        spread = f" ± {stdev(means):.1f}" if len(means) > 1 else ""
        table.add_row(
            str(rank or "as trained"),
            f"{mine[0]['parameters']:,}",
            f"{fmean(errors):.2f}" if errors else "",
            f"{fmean(means):.1f}{spread}",
        )
    Console(width=100).print(table)

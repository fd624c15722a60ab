"""Ranks that the training chooses against one rank everywhere, at equal numbers, on four tasks.

    OMP_NUM_THREADS=1 python experiments/automatic_ranks.py          # start it twice to use two cores
    python experiments/automatic_ranks.py --table                    # of what is there: writes results and the report
    python experiments/automatic_ranks.py --smoke                    # two minutes: two tasks of 64 small images

FTN and LoRA (on convolutions) with own γ and β on a frozen EfficientNet-lite0, 64 pixels, the backbone's statistics
kept. The budget of `rank="auto"` is what the same method has at rank 1 or 4 everywhere. Epochs by validation data, and
accuracy of held-out test data; differences are paired over tasks and seeds. Each method and seed leaves its own file in
runs/automatic_ranks; a run that is killed is begun again once its empty file is removed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from claimed import claimed
from claims import paired

from taskfold import FTN, LoRA, MultiTask, backbones, count
from taskfold.data import ImageTensors, Preprocessing
from taskfold.evaluate import evaluate
from taskfold.methods import Method
from taskfold.report import write_report
from taskfold.report.record import backbone_record, environment, run_record, task_record
from taskfold.tasks import write_atomically
from taskfold.train import group_rates, train_task
from taskfold_demos.jobs import Entry, plan

HERE = Path(__file__).parent
POLICIES = ("importance", "gates", "gradients")

parser = argparse.ArgumentParser()
parser.add_argument("--table", action="store_true")
parser.add_argument("--smoke", action="store_true")
asked = parser.parse_args()
demo = plan("all", quick=asked.smoke)
ranks, seeds = ((4,), (0,)) if asked.smoke else ((1, 4), (0, 1, 2))
RUNS = HERE / "runs" / ("automatic_ranks_smoke" if asked.smoke else "automatic_ranks")
RESULTS = RUNS / "results.json" if asked.smoke else HERE / "results" / "automatic_ranks.json"
loaded = backbones.load("packaged:efficientnet-lite0")
preprocessing = Preprocessing.from_config(loaded.preprocessing or {}, size=demo.size)


@dataclass(frozen=True)
class Contender:
    """A method; `policy` is empty for one rank everywhere, and `rank` the rank that says how many numbers it has."""

    family: str
    rank: int
    policy: str

    @property
    def uniform(self) -> Method:
        """One rank everywhere."""
        if self.family == "FTN":
            return FTN(rank=self.rank, statistics="backbone")
        return LoRA(rank=self.rank, layers="convolution", norm=True, statistics="backbone")

    @property
    def method(self) -> Method:
        """What is trained."""
        if not self.policy:
            return self.uniform
        budget = count(loaded.network, self.uniform).per_task["factors"]
        return self.uniform.with_settings(rank="auto", budget=budget, rank_policy=self.policy)

    @property
    def label(self) -> str:
        """Its row."""
        return f"{self.family} R={self.rank}" + (f", {self.policy}" if self.policy else " everywhere")


CONTENDERS = [Contender(one, rank, policy) for one in ("FTN", "LoRA") for rank in ranks for policy in ("", *POLICIES)]


def path_of(one: Contender, seed: int) -> Path:
    return RUNS / f"{one.family}-{one.rank}-{one.policy or 'uniform'}-seed-{seed}.json"


def trained(one: Contender, seed: int) -> dict[str, Any]:
    """The runs on all tasks, and what a report says of tasks and machine."""
    runs, tasks, model = [], [], MultiTask(loaded.network)
    for name, source in demo.sources.items():
        data = source.load(name)
        train, val, test = (ImageTensors(part, preprocessing) for part in (data.train, data.val, data.test))
        torch.manual_seed(seed)
        model = MultiTask(loaded.network, one.method)
        model.add_task(name, head=len(data.labels))
        settings = Entry(one.label, one.method, lr=1e-2, others=2e-3).settings(demo, seed=seed)
        result = train_task(model, name, train, val, settings.only(group_rates(model, [name])), quiet=True)
        runs.append({"label": one.label, "seed": seed, **run_record(model, name, result, evaluate(model, name, test))})
        tasks.append(task_record(data, f"packaged:{name}"))
        print(one.label, seed, name, runs[-1]["metrics"], runs[-1]["parameters"], flush=True)
    return {"runs": runs, "tasks": tasks, "environment": environment(model)}


def pairs(found: dict[tuple[str, int], dict[str, float]], one: Contender) -> Iterator[float]:
    """Differences to one rank everywhere, in points, by task and seed."""
    for seed in seeds:
        mine, other = found.get((one.label, seed)), found.get((replace(one, policy="").label, seed))
        for name in mine or {} if other else ():
            yield 100 * (mine[name] - other[name])  # type: ignore[index]


def table(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean accuracy of each contender, spread over seeds, and the paired difference with interval and p-value."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for run in (run for document in documents for run in document["runs"]):
        found.setdefault((run["label"], run["seed"]), {})[run["task"]] = run["metrics"]["test_accuracy"]
    rows: list[dict[str, Any]] = []
    for one in CONTENDERS:
        means = [100 * statistics.mean(found[one.label, seed].values()) for seed in seeds if (one.label, seed) in found]
        if not means:
            continue
        row: dict[str, Any] = {"label": one.label, "mean": statistics.mean(means), "seeds": len(means)}
        row["spread"] = statistics.stdev(means) if len(means) > 1 else None
        differences = [*pairs(found, one)] if one.policy else []
        if len(differences) > 1:
            row |= paired(differences)
        rows.append(row)
        print("  ".join(f"{key} {value:.3g}" if isinstance(value, float) else str(value) for key, value in row.items()))
    return rows


torch.set_num_threads(1)
if not asked.table:
    for seed in seeds:
        for one in CONTENDERS:
            with claimed(path_of(one, seed)) as path:
                if path:
                    write_atomically(path, json.dumps(trained(one, seed)).encode())
done = [path for one in CONTENDERS for seed in seeds if (path := path_of(one, seed)).is_file() and path.stat().st_size]
documents = [json.loads(path.read_text()) for path in done]
if documents:
    document = {
        "version": 1,
        "title": "Ranks chosen in training against one rank everywhere",
        "command": "python experiments/automatic_ranks.py",
        "environment": {**documents[0]["environment"], "image_size": demo.size, "epochs": demo.epochs},
        "backbone": backbone_record(loaded),
        "tasks": documents[0]["tasks"],
        "runs": [run for one in documents for run in one["runs"]],
    }
    write_report(document, RUNS / "report.html")
    RESULTS.write_text(json.dumps({**document, "table": table(documents)}, indent=1))

"""Where tasks part from one another: accuracy against the time that four tasks take on one image.

    OMP_NUM_THREADS=1 python experiments/branching.py          # trains; start it twice to use two cores
    python experiments/branching.py --time                     # on a quiet machine: times, draws, writes

FTN R=16 on a frozen EfficientNet-lite0, the four tasks of `taskfold demo`. `frozen`: the first `frozen_stages` stages
are left alone, from none to all five (the last layers remain), and tasks are trained one by one. `tree`: these have
factors that all tasks share (`sharing={"name": "tree", "branch": …}`), and tasks are trained together. Epochs by
validation data; the accuracy is of held-out test data. Latency: all four tasks on a batch of one image in one call, as
a multiple of one task's; with `--tasks 1 2 4 8 16` also of so many tasks of each tree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from claimed import claimed
from matplotlib.figure import Figure

from taskfold import FTN, MultiTask, backbones
from taskfold.data import ImageTensors, Preprocessing
from taskfold.evaluate import evaluate
from taskfold.tasks import write_atomically
from taskfold.train import JointSettings, TaskSet, group_rates, train_task, train_together
from taskfold_demos.jobs import Entry, plan

HERE = Path(__file__).parent
RUNS = HERE / "runs" / "branching"
STAGES, SEEDS, ROUNDS = range(6), (0, 1, 2), 40
RULES = {"frozen": STAGES, "tree": STAGES[1:]}

parser = argparse.ArgumentParser()
parser.add_argument("--time", action="store_true")
parser.add_argument("--rules", nargs="+", default=[*RULES], choices=[*RULES])
parser.add_argument("--tasks", type=int, nargs="+", default=[4], help="of a tree, to be timed")
asked = parser.parse_args()
TREES = [(rule, stages) for rule in asked.rules for stages in RULES[rule]]
demo = plan("all")
backbone = backbones.load("packaged:efficientnet-lite0")
preprocessing = Preprocessing.from_config(backbone.preprocessing or {}, size=demo.size)


def method(stages: int, rule: str) -> FTN:
    if rule == "tree":
        return FTN(rank=16, sharing={"name": "tree", "branch": stages})
    return FTN(rank=16, frozen_stages=stages)


def jointly(stages: int, seed: int) -> dict[str, Any]:
    """Test accuracy of each task of a tree, and the numbers of one beside those that all share."""
    torch.manual_seed(seed)
    model, sets, tests = MultiTask(backbone.network, method(stages, "tree")), dict[str, TaskSet](), dict[str, Any]()
    for name, source in demo.sources.items():
        data = source.load(name)
        train, val, tests[name] = (ImageTensors(part, preprocessing) for part in (data.train, data.val, data.test))
        sets[name] = TaskSet(train, val)
        model.add_task(name, head=len(data.labels))
    settings = Entry("FTN R=16", method(stages, "tree")).settings(demo, seed=seed).only(group_rates(model, [*sets]))
    train_together(model, sets, JointSettings.model_validate(settings.model_dump()))
    own = next(iter(model.tasks.values())).counts()
    return {
        "rule": "tree",
        "stages": stages,
        "seed": seed,
        "accuracy": {name: evaluate(model, name, test).accuracy for name, test in tests.items()},
        "parameters": own["factors"] + own["norm"],
        "shared": sum(leaf.numel() for leaf in model.inventory.parameters()),
    }


def trained(stages: int, seed: int) -> dict[str, Any]:
    """Test accuracy of each task, and the numbers of one."""
    found: dict[str, Any] = {"rule": "frozen", "stages": stages, "seed": seed, "accuracy": {}}
    for name, source in demo.sources.items():
        data = source.load(name)
        train, val, test = (ImageTensors(part, preprocessing) for part in (data.train, data.val, data.test))
        torch.manual_seed(seed)
        model = MultiTask(backbone.network, method(stages, "frozen"))
        task = model.add_task(name, head=len(data.labels))
        settings = Entry("FTN R=16", method(stages, "frozen")).settings(demo, seed=seed)
        train_task(model, name, train, val, settings.only(group_rates(model, [name])))
        found["accuracy"][name] = evaluate(model, name, test).accuracy
        found["parameters"] = task.counts()["factors"] + task.counts()["norm"]
    return found


def timed() -> dict[str, dict[str, float]]:
    """Milliseconds of four tasks on one image, and the ratio to one task without any update, by turns."""
    names, x = list(demo.sources), torch.randn(1, 3, demo.size, demo.size)
    plain = backbone.network.eval()
    steps: dict[str, Callable[[], object]] = {"one plain pass": lambda: plain(x)}
    for rule, stages in TREES:
        model = MultiTask(backbone.network, method(stages, rule)).eval()
        counts = asked.tasks if rule == "tree" else [len(names)]
        several = [f"task {n}" for n in range(max(counts))]
        for name in several:
            model.add_task(name, head=10)
        for count in counts:
            label = f"{rule} {stages}" + (f", {count} tasks" if count != len(names) else "")
            steps[label] = lambda model=model, some=several[:count]: model(x, task=some, broadcast=True)
        if (rule, stages) == ("frozen", 0):
            steps["task after task"] = lambda model=model, some=several: [model(x, task=name) for name in some]
    taken: dict[str, list[float]] = {name: [] for name in steps}
    with torch.inference_mode():
        for turn in range(-3, ROUNDS):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if turn >= 0:
                    taken[name].append(time.perf_counter() - start)
    table = {}
    for name, seconds in taken.items():
        ratios = [one / other for one, other in zip(seconds, taken["one plain pass"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        table[name] = {"ms": 1e3 * statistics.median(seconds), "ratio": middle, "low": low, "high": high}
    return table


COLOURS = {"frozen": "#0b6e8a", "tree": "#c24e00"}


def of(run: dict[str, Any]) -> str:
    return f"{run['rule']} {run['stages']}"


def drawn(runs: list[dict[str, Any]], table: dict[str, dict[str, float]]) -> Figure:
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for rule, stages in TREES:
        means = [100 * statistics.mean(run["accuracy"].values()) for run in runs if of(run) == f"{rule} {stages}"]
        if not means or (at := table.get(f"{rule} {stages}")) is None:
            continue
        spread = statistics.stdev(means) if len(means) > 1 else None
        across = [[at["ratio"] - at["low"]], [at["high"] - at["ratio"]]]
        axes.errorbar(at["ratio"], statistics.mean(means), spread, across, fmt="o", color=COLOURS[rule], capsize=3)
        axes.annotate(f" {stages}", (at["ratio"], statistics.mean(means)), xytext=(4, 5), textcoords="offset points")
    if "task after task" in table:
        apart = table["task after task"]["ratio"]
        axes.axvline(apart, color="#777", lw=1, ls="--")
        axes.text(apart, axes.get_ylim()[0], " task after task", color="#555", rotation=90, va="bottom", ha="right")
    for n, (rule, words) in enumerate({"frozen": "left alone", "tree": "with shared factors"}.items()):
        axes.text(0.98, 0.04 + 0.07 * n, words, color=COLOURS[rule], ha="right", transform=axes.transAxes)
    axes.set_xlabel("time of four tasks on one image, as a multiple of the plain network's")
    axes.set_ylabel("mean test accuracy (%)")
    axes.set_title("FTN R=16, the first 0 to 5 stages run once", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(left=1)
    return figure


torch.set_num_threads(1)
if not asked.time:
    for seed in SEEDS:
        for rule, stages in TREES:
            with claimed(RUNS / f"{rule}-{stages}-seed-{seed}.json") as path:
                if path:
                    record = jointly(stages, seed) if rule == "tree" else trained(stages, seed)
                    write_atomically(path, json.dumps(record).encode())
                    print(f"{of(record)}, seed {seed}: {record['accuracy']}", flush=True)
else:
    runs = [json.loads(text) for path in sorted(RUNS.glob("*.json")) if (text := path.read_text())]
    table = timed()
    document = {"command": "python experiments/branching.py --time", "runs": runs, "latency": table}
    write_atomically(HERE / "results" / "branching.json", json.dumps(document, indent=1).encode())
    picture = HERE.parent / "docs" / "images" / "branching.svg"
    drawn(runs, table).savefig(picture, bbox_inches="tight", metadata={"Date": None})
    for name, row in table.items():
        scores = [100 * statistics.mean(run["accuracy"].values()) for run in runs if of(run) == name]
        accuracy = f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f} %" if len(scores) > 1 else ""
        print(f"{name:20}{row['ms']:8.1f} ms {row['ratio']:6.2f} ({row['low']:.2f} to {row['high']:.2f})   {accuracy}")

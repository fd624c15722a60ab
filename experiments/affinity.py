"""Affinities against the truth: do tasks that are said to help one another help when they are trained together?

    OMP_NUM_THREADS=1 python experiments/affinity.py           # trains; start it twice to use two cores
    python experiments/affinity.py --table                     # joins what is done, writes results/affinity.json
    python experiments/affinity.py --quick --problems images   # seconds, to see that everything works

Two problems, three seeds. `languages`: eight languages of the demonstration, lemmatised by the byte-level T5
`packaged:lemma-t5`, frozen, with one LoRA for all tasks of a group. `images`: handwritten digits with a planted
conflict: two hundred images, each half of them three tasks: with the true labels, with one permutation of the labels,
and with another. All share one small network, its last layer included, so that only tasks of one labelling agree.

Affinities are measured along a short joint training. The truth: every task by itself, every pair, and all, trained for
as many steps with as many samples of each task in a step, epochs chosen on validation data, losses of test data. A
pair's true gain is the share of their losses by themselves that training together takes away, both added up. Then the
groupings that linearised gains, lookahead and cosine propose are trained, and the one that the true gains of pairs
propose. Every training leaves a file in runs/affinity.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from claimed import claimed
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

import taskfold as tfold
from taskfold import backbones
from taskfold.data import parse_source
from taskfold.tasks import write_atomically
from taskfold.text import Collator, Objective
from taskfold.train import (
    Affinity,
    AffinitySettings,
    JointSettings,
    OptimizerSettings,
    TaskSet,
    affinity,
    best_groups,
    train_together,
)
from taskfold_demos.jobs import routing_plan, words_of

HERE = Path(__file__).parent
MEASURES = ("linear", "lookahead", "cosine")
LANGUAGES = ("Catalan", "Spanish", "Italian", "Danish", "Bokmål", "Icelandic", "Czech", "Slovene")
LABELLINGS = ("true", "turned", "mixed")

parser = argparse.ArgumentParser()
parser.add_argument("--problems", nargs="+", default=["images", "languages"], choices=["images", "languages"])
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
parser.add_argument("--quick", action="store_true")
parser.add_argument("--table", action="store_true")
asked = parser.parse_args()
RUNS = HERE / "runs" / ("affinity-quick" if asked.quick else "affinity")


@dataclass(frozen=True)
class Problem:
    """Tasks, and how they are trained together; `each` samples of a task in a step."""

    names: tuple[str, ...]
    network: Any
    method: tfold.Method
    sets: Mapping[str, TaskSet]
    tests: Mapping[str, Any]
    seams: Mapping[str, Any]
    lr: float
    steps: int
    each: int

    def model(self, names: Sequence[str], seed: int) -> tfold.MultiTask:
        torch.manual_seed(seed)
        model = tfold.MultiTask(self.network, self.method)
        for name in names:
            model.add_task(name)
        return model

    def settings(self, names: Sequence[str], seed: int) -> JointSettings:
        return JointSettings(
            max_steps=self.steps,
            steps_per_epoch=-(-self.steps // 10),
            batch_size=self.each * len(names),
            sampling="uniform",
            seed=seed,
            optimizers={"factors": OptimizerSettings(lr=self.lr)},
            select_by="loss",
            checkpoint_every=1e9,
        )

    def measured(self, seed: int) -> dict[str, Any]:
        how = AffinitySettings(steps=self.steps // 3, every=max(1, self.steps // 60), samples=self.each)
        sets = {name: self.sets[name] for name in self.names}
        settings = self.settings(self.names, seed)
        return affinity(self.model(self.names, seed), sets, settings, how, **self.seams).model_dump(mode="json")

    def trained(self, names: Sequence[str], seed: int) -> dict[str, Any]:
        """Test loss of each task of a group, trained together."""
        start, model = time.perf_counter(), self.model(names, seed)
        train_together(
            model, {name: self.sets[name] for name in names}, self.settings(names, seed), **self.seams, quiet=True
        )
        model.eval()
        found: dict[str, Any] = {"group": [*names], "seed": seed, "loss": {}}
        with torch.inference_mode():
            for name in names:
                batch = self.seams["collate"]([*self.tests[name]])
                found["loss"][name] = (
                    self.seams["objective"](model, batch, [name] * len(self.tests[name])).mean().item()
                )
        return found | {"seconds": time.perf_counter() - start}


def languages() -> Problem:
    few = {"train": 0, "val": 48, "test": 200, "pool": 60 if asked.quick else 600}
    plan = replace(routing_plan("full"), training=(), held_out=LANGUAGES[: 3 if asked.quick else None], **few)
    words, loaded = words_of(plan), backbones.load("packaged:lemma-t5")
    assert loaded.tokenizer is not None
    longest = plan.max_bytes + 1
    collate = Collator(loaded.tokenizer(), causal=False, max_input=longest, max_target=longest, with_choices=False)
    return Problem(
        plan.held_out,
        loaded.network,
        tfold.LoRA(rank=4, alpha=1.0, sharing="shared"),
        {name: TaskSet(words[name].train, words[name].val) for name in plan.held_out},  # type: ignore[arg-type]
        {name: words[name].test for name in plan.held_out},
        {"objective": Objective(mc=0, ul=0), "collate": collate},
        lr=2e-2,
        steps=20 if asked.quick else 300,
        each=8,
    )


def cross_entropy(model: tfold.MultiTask, batch: Sequence[Tensor], tasks: Sequence[str]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0], task=list(tasks)), batch[1], reduction="none")


def images() -> Problem:
    data = parse_source({"kind": "packaged", "name": "digits"}).load(seed=0)

    def tensors(part: Any, first: int, last: int) -> tuple[Tensor, Tensor]:
        picked = range(first, last)
        grey = [torch.from_numpy(np.array(part.read(n).convert("L").resize((8, 8)))) for n in picked]
        return torch.stack(grey)[:, None] / 255, torch.tensor([part.targets[n] for n in picked])

    dice = torch.Generator().manual_seed(0)
    turns = [torch.arange(10), (torch.arange(10) + 1) % 10, torch.randperm(10, generator=dice)]
    val, test = tensors(data.val, 0, 100), tensors(data.test, 0, 250)
    made: dict[str, list[TensorDataset]] = {}
    for half in (0, 1):
        parts = [tensors(data.train, 100 * half, 100 * half + 100), val, test]
        for name, turn in zip(LABELLINGS, turns, strict=True):
            made[f"{name} {half + 1}"] = [TensorDataset(x, turn[y]) for x, y in parts]
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return Problem(
        tuple(made),
        net,
        tfold.HardSharing(),
        {name: TaskSet(train, val) for name, (train, val, _) in made.items()},
        {name: test for name, (_, _, test) in made.items()},
        {"objective": cross_entropy, "collate": default_collate},
        lr=3e-3,
        steps=20 if asked.quick else 300,
        each=16,
    )


def kept(problem: str, seed: int, what: str) -> Path:
    return RUNS / f"{problem}-seed-{seed}-{what}.json"


def of(names: Sequence[str]) -> str:
    return "+".join(sorted(names)).replace(" ", "-")


def losses(problem: str, seed: int, groups: Sequence[Sequence[str]]) -> dict[str, float] | None:
    """Test losses of all tasks of a grouping; None: not all is trained."""
    found: dict[str, float] = {}
    for group in groups:
        path = kept(problem, seed, of(group))
        if not path.exists() or not (text := path.read_text()):
            return None
        found |= json.loads(text)["loss"]
    return found


def true_gains(problem: str, seed: int, names: Sequence[str]) -> list[list[float]] | None:
    """What training with i takes off the loss of j, as a share of that by itself."""
    alone = losses(problem, seed, [[name] for name in names])
    matrix = [[0.0] * len(names) for _ in names]
    for i, j in combinations(range(len(names)), 2):
        pair = losses(problem, seed, [[names[i], names[j]]])
        if alone is None or pair is None:
            return None
        matrix[i][j] = 1 - pair[names[j]] / alone[names[j]]
        matrix[j][i] = 1 - pair[names[i]] / alone[names[i]]
    return matrix


def groupings(problem: str, seed: int) -> dict[str, list[list[str]]]:
    """Those that are compared, as far as they are known."""
    path = kept(problem, seed, "measured")
    if not path.exists() or not (text := path.read_text()):
        return {}
    found = Affinity.model_validate_json(text)
    ways = {"alone": [[name] for name in found.tasks], "all together": [[*found.tasks]]}
    ways |= {measure: found.groups(by=measure) for measure in MEASURES}
    if (truth := true_gains(problem, seed, found.tasks)) is not None:
        ways["true gains of pairs"] = [[found.tasks[n] for n in group] for group in best_groups(truth)]
    return ways


def train(problem: str) -> None:
    made = images() if problem == "images" else languages()
    for seed in asked.seeds:
        with claimed(kept(problem, seed, "measured")) as path:
            if path:
                write_atomically(path, json.dumps(made.measured(seed)).encode())
        learn(problem, made, seed, [*([name] for name in made.names), *combinations(made.names, 2), made.names])
        learn(problem, made, seed, [group for way in groupings(problem, seed).values() for group in way])


def learn(problem: str, made: Problem, seed: int, groups: Sequence[Sequence[str]]) -> None:
    """Train each group, unless that is done or another process does it."""
    for group in groups:
        with claimed(kept(problem, seed, of(group))) as path:
            if path:
                found = made.trained(group, seed)
                write_atomically(path, json.dumps(found).encode())
                print(f"{problem}, seed {seed}, {len(group)} together: {found['loss']}", flush=True)


def compared(problem: str, seed: int) -> dict[str, Any] | None:
    """One seed: how affinities rank pairs, what conflicts they find, and what their groups are worth."""
    ways = groupings(problem, seed)
    if "true gains of pairs" not in ways or any(losses(problem, seed, way) is None for way in ways.values()):
        return None
    found = Affinity.model_validate_json(kept(problem, seed, "measured").read_text())
    truth = true_gains(problem, seed, found.tasks)
    assert truth is not None
    pairs = [*combinations(range(len(found.tasks)), 2)]
    both = [truth[i][j] + truth[j][i] for i, j in pairs]
    hurt = {(found.tasks[i], found.tasks[j]) for (i, j), gain in zip(pairs, both, strict=True) if gain < 0}
    table: dict[str, Any] = {"seed": seed, "seconds": found.seconds, "truth": both, "conflicts": len(hurt)}
    for measure in MEASURES:
        said = [found.gains(measure).pair(i, j)[0] for i, j in pairs]
        conflicts = {*found.conflicts(measure)}
        table[measure] = {
            "rank correlation": float(spearmanr(said, both)[0]),  # type: ignore[arg-type]
            "conflicts said": len(conflicts),
            "of these true": len(conflicts & hurt),
        }
    alone = losses(problem, seed, ways["alone"]) or {}
    table["gain"] = {
        way: fmean(1 - loss / alone[name] for name, loss in (losses(problem, seed, groups) or {}).items())
        for way, groups in ways.items()
    }
    return table | {"groups": ways}


def spread(values: Sequence[float], unit: float = 1) -> str:
    return f"{unit * fmean(values):.2f}" + (f" ± {unit * stdev(values):.2f}" if len(values) > 1 else "")


torch.set_num_threads(1)
if not asked.table:
    for problem in asked.problems:
        train(problem)
document: dict[str, Any] = {"command": "python experiments/affinity.py --table"}
for problem in asked.problems:
    rows = [row for seed in asked.seeds if (row := compared(problem, seed)) is not None]
    document[problem] = rows
    print(f"{problem}: {len(rows)} seeds")
    for measure in MEASURES if rows else ():
        ranks = [row[measure]["rank correlation"] for row in rows]
        said, right = (sum(row[measure][key] for row in rows) for key in ("conflicts said", "of these true"))
        there = sum(row["conflicts"] for row in rows)
        print(f"  {measure:20} rank correlation {spread(ranks)}; conflicts {right} of {there}, {said - right} wrong")
    for way in rows[0]["gain"] if rows else ():
        print(f"  {way:20} takes off {spread([row['gain'][way] for row in rows], 100)} % of the loss alone")
if asked.table:
    write_atomically(HERE / "results" / "affinity.json", json.dumps(document, indent=1).encode())

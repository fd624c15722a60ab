"""Claims of the papers on networks small enough for ten seeds.

    OMP_NUM_THREADS=1 python experiments/small_claims.py              # start it twice to use two cores
    OMP_NUM_THREADS=1 python experiments/small_claims.py --seeds 0    # a part of it
    python experiments/small_claims.py --table                        # joins what is done: results/small_claims.json

`transfer`: a small network that knows drawings of animals stays frozen. A task tells five of the ten handwritten digits
from the other five. Methods that share train on twelve such tasks together; six others are then learned from 64 images
each, all of them together, where each has parameters of its own.

`trunk`: one network learns handwritten digits of two sources and animals together, from random weights: as it is,
over-parameterised, and over-parameterised with iterative training.

Images are 14 × 14. Learning rates, in steps of two until both neighbours of the best have been tried, and epochs are
chosen by validation loss, rates on two seeds that no result is of. Every training leaves a file in runs/small_claims
and is begun by whichever process comes first.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from claimed import claimed
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset, default_collate

import taskfold as tfold
from taskfold import Phase, Turn
from taskfold.data import parse_source
from taskfold.layers import updates_of
from taskfold.tasks import write_atomically
from taskfold.train import JointSettings, OptimizerSettings, TaskSet, group_rates, train_together

HERE = Path(__file__).parent
RUNS = HERE / "runs" / "small_claims"
SEEDS, TUNING = tuple(range(10)), (100, 101)
OLD, NEW, SHOTS, WIDE = 12, 6, 64, 14
Parts = Mapping[str, TensorDataset]


@dataclass(frozen=True)
class Way:
    """A method; `transfer`: how new tasks begin, None: they are not of this experiment."""

    method: tfold.Method
    transfer: str | None = None
    lr: float = 1e-2
    iterative: bool = False


TRANSFER = {
    "head only": Way(tfold.HeadOnly(), "scratch"),
    "LoRA from scratch": Way(tfold.LoRA(rank=4, alpha=1.0, layers="all"), "scratch"),
    "LoRA": Way(tfold.LoRA(rank=4, alpha=1.0, layers="all", sharing="shared"), "continue"),
    "Poly": Way(tfold.Poly(rank=4, skills=4, layers="all"), "all"),
    "TensorPoly-I": Way(tfold.TensorPolyI(rank=16, tensor_rank=4, layers="all"), "all"),
    "TensorPoly-II": Way(tfold.TensorPolyII(rank=16, tensor_rank=4, layers="all"), "all"),
}
TRUNK = {
    "multi-task": Way(tfold.HardSharing(), lr=4e-3),
    "over-parameterised, joint": Way(tfold.OverParameterised(), lr=4e-3),
    "over-parameterised, iterative": Way(tfold.OverParameterised(), lr=4e-3, iterative=True),
}
EXPERIMENTS = {"transfer": TRANSFER, "trunk": TRUNK}


class Small(nn.Module):
    """Two convolutions and a linear layer."""

    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.last = nn.Linear(32 * 9, 64)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = F.max_pool2d(layer(x).relu(), 2)
        return self.last(x.flatten(1)).relu()


@cache
def pictures(name: str, seed: int) -> Parts:
    """Grey images and classes."""
    data = parse_source({"kind": "packaged", "name": name}).load(seed=seed)
    found = {}
    for part, most in (("train", 1000), ("val", 200), ("test", 1000)):
        source: Any = getattr(data, part)
        picked = random.Random(seed).sample(range(len(source)), min(most, len(source)))
        grey = [np.array(source.read(n).convert("L").resize((WIDE, WIDE))) for n in picked]
        classes = torch.tensor([source.targets[n] for n in picked])
        found[part] = TensorDataset(torch.from_numpy(np.stack(grey))[:, None] / 255, classes)
    return found


def grouped(parts: Parts, group: frozenset[int]) -> Parts:
    return {
        part: TensorDataset(data.tensors[0], torch.tensor([int(int(y) in group) for y in data.tensors[1]]))
        for part, data in parts.items()
    }


def objective(model: tfold.MultiTask, batch: Sequence[Tensor], tasks: Sequence[str]) -> Tensor:
    answers = torch.stack(list(model(batch[0], task=list(tasks))))  # each row comes from its task's head
    return F.cross_entropy(answers, batch[1], reduction="none")


def fit(
    model: tfold.MultiTask, data: Mapping[str, Parts], steps: int, rates: Mapping[str, float], seed: int, **more: Any
) -> float:
    """Trains together for six epochs of that many steps; the best validation loss."""
    settings = JointSettings(
        epochs=more.pop("epochs", 6),
        steps_per_epoch=steps,
        batch_size=64,
        sampling="uniform",
        seed=seed,
        optimizers={group: OptimizerSettings(lr=lr) for group, lr in rates.items()},
        schedule="cosine",
        clip_norm=1.0,
        select_by="loss",
        checkpoint_every=1e9,
        threads=1,
        **more,
    )
    sets = {name: TaskSet(parts["train"], parts["val"]) for name, parts in data.items()}  # type: ignore[arg-type]
    settings = settings.only(group_rates(model, list(sets)))
    done = train_together(model, sets, settings, objective=objective, collate=default_collate, quiet=True)
    return float(done.best["val_loss"])


@torch.no_grad()
def right(model: tfold.MultiTask, name: str, test: TensorDataset) -> float:
    x, y = test.tensors
    return (model.eval()(x, task=name).argmax(1) == y).double().mean().item()


@cache
def frozen(seed: int) -> Small:
    """Knows animals."""
    torch.manual_seed(seed)
    model = tfold.MultiTask(Small(), tfold.FineTuning())
    model.add_task("animals", 10)
    fit(model, {"animals": pictures("animals", seed)}, 25, {"weights": 2e-3, "head": 5e-3}, seed)
    known, network = model.fold("animals").state_dict(), Small()
    network.load_state_dict({key: known[f"backbone.{key}"] for key in network.state_dict()})
    return network


def begin(model: tfold.MultiTask, name: str, shared: str, how: Any) -> None:
    """Adds a task that is new; `continue`: from a copy of the factors that all tasks share, `shared` among them."""
    if how == "scratch":
        model.add_task(name, 2)
    elif how == "continue":
        mine = updates_of(model.add_task(name, 2, sharing="private"))
        for layer, update in updates_of(model[shared]).items():
            assert update.bank is not None
            for key, leaf in update.bank.items():
                mine[layer].own[key].data.copy_(leaf)
    else:
        model.transfer_task(name, 2, mode=how)


def transfer(way: Way, lr: float, seed: int) -> dict[str, Any]:
    dice = random.Random(seed)
    groups = dice.sample([frozenset({0, *rest}) for rest in combinations(range(1, 10), 4)], OLD + NEW)
    digits = pictures("mnist", seed)
    tasks = {f"{'old' if n < OLD else 'new'} {n}": grouped(digits, group) for n, group in enumerate(groups)}
    old = {name: parts for name, parts in tasks.items() if name.startswith("old")}
    new = {
        name: {**parts, "train": Subset(parts["train"], dice.sample(range(len(parts["train"])), SHOTS))}
        for name, parts in tasks.items()
        if name not in old
    }
    rates = {"factors": lr, "routing": 0.3, "head": 1e-2}
    torch.manual_seed(seed)
    model = tfold.MultiTask(frozen(seed), way.method)
    if way.transfer != "scratch":
        for name in old:
            model.add_task(name, 2)
        fit(model, old, 80, rates, seed)
    for name in new:
        begin(model, name, next(iter(old)), way.transfer)
    loss = fit(model, new, 20, rates, seed)  # type: ignore[arg-type]
    trained = sum(p.numel() for p in set(model[next(iter(new))].parameters()) if p.requires_grad)
    return {
        "val_loss": loss,
        "parameters": trained,
        "accuracy": {name: right(model, name, tasks[name]["test"]) for name in new},
    }


def trunk(way: Way, lr: float, seed: int) -> dict[str, Any]:
    data = {name: pictures(name, seed) for name in ("mnist", "digits", "animals")}
    torch.manual_seed(seed)
    model = tfold.MultiTask(Small(), way.method)
    for name in data:
        model.add_task(name, 10)
    more: dict[str, Any] = {}
    if way.iterative:
        diagonals = Turn(("diagonal",), own_loss=True)
        more["epochs"] = 7  # one more, at the start, in which only the diagonals learn
        more["phases"] = (Phase(turns=(diagonals,), epochs=1), Phase(turns=(diagonals, Turn())))
    loss = fit(model, data, 50, {"factors": lr, "diagonal": 3e-2, "head": lr}, seed, **more)
    return {"val_loss": loss, "accuracy": {name: right(model, name, parts["test"]) for name, parts in data.items()}}


RUN: Mapping[str, Callable[[Way, float, int], dict[str, Any]]] = {"transfer": transfer, "trunk": trunk}


def done(experiment: str, label: str, lr: float, seed: int) -> dict[str, Any] | None:
    """One training, unless another process has begun it; None: that one is at it."""
    path = RUNS / f"{experiment}-{label}-{lr:g}-seed-{seed}.json".replace(" ", "-").replace(",", "")
    with claimed(path) as mine:
        if mine:
            start = time.perf_counter()
            record: dict[str, Any] = {"experiment": experiment, "method": label, "lr": lr, "seed": seed}
            try:
                record |= RUN[experiment](EXPERIMENTS[experiment][label], lr, seed)
            except (ArithmeticError, RuntimeError) as error:
                record["failed"] = f"{type(error).__name__}: {error}"
            record["seconds"] = time.perf_counter() - start
            write_atomically(mine, json.dumps(record).encode())
            print({key: value for key, value in record.items() if key != "accuracy"}, flush=True)
    text = path.read_text()
    return json.loads(text) if text else None


def rate(experiment: str, label: str) -> float:
    """The best learning rate on the seeds for that; both its neighbours have been tried."""
    tried: dict[float, float] = {}
    best = EXPERIMENTS[experiment][label].lr
    while True:
        for lr in (best / 2, best, best * 2):
            if lr not in tried:
                records = [done(experiment, label, lr, seed) for seed in TUNING]
                while not all(records):
                    time.sleep(2)  # another process is at it
                    records = [done(experiment, label, lr, seed) for seed in TUNING]
                tried[lr] = fmean(record.get("val_loss", float("inf")) for record in records if record)
        lowest = min(tried, key=tried.__getitem__)
        if lowest == best:
            return best
        best = lowest


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {
        (experiment, label): rate(experiment, label) for experiment, ways in EXPERIMENTS.items() for label in ways
    }
    for seed in asked.seeds if not asked.table else ():
        for (experiment, label), lr in chosen.items():
            done(experiment, label, lr, seed)
    records = [json.loads(text) for path in sorted(RUNS.glob("*.json")) if (text := path.read_text())]
    rates = {f"{experiment} · {label}": lr for (experiment, label), lr in chosen.items()}
    document = {"command": "python experiments/small_claims.py", "rates": rates, "records": records}
    write_atomically(HERE / "results" / "small_claims.json", json.dumps(document, indent=1).encode())

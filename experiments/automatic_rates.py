"""`lr="auto"` against learning rates that were swept, and against other rules; on validation data alone.

    python experiments/automatic_rates.py                              a small network: an hour of one core
    python experiments/automatic_rates.py demo                         the demonstration's: hours
    python experiments/automatic_rates.py small "mnist, FTN R=16"      pairs of these names

The small network of five convolutions is trained on fashion-mnist here. A pair is a task and a method. Its sweep climbs
in octaves by whole trainings of seed 0: first all groups of parameters together, in the proportions of their default
rates, then each by itself, until both neighbours of the best have been tried. Then the rates of the sweep, those of
`lr="auto"`, the defaults and what other rules make of the same trials train with other seeds, so that nothing is
measured where it was chosen. What has been trained is kept in results/automatic_rates.json, and not trained again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from automatic_rates_beds import BEDS, Bed

from taskfold.train import DivergedError, OptimizerSettings, Settings, group_rates, train_task

OUT = Path(__file__).parent / "results" / "automatic_rates.json"
SEEDS = (1, 2)
Rates = dict[str, float]
Trials = list[dict[str, Any]]


def known() -> list[dict[str, Any]]:
    """Everything there is so far."""
    return json.loads(OUT.read_text()) if OUT.is_file() else []


def once(key: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was found under this key, or is found now."""
    found = next((one for one in known() if key.items() <= one.items()), None)
    if found is None:
        found = {**key, **make()}
        OUT.write_text(json.dumps([*known(), found], indent=1))
        print({name: value for name, value in found.items() if name != "trials"}, flush=True)
    return found


class Pair:
    """A task and a method on a network."""

    def __init__(self, bed: Bed, task: str, method: str) -> None:
        self.bed, self.task, self.method = bed, task, method
        self.defaults = group_rates(bed.model(task, method, 0), [task])

    def key(self, seed: int) -> dict[str, Any]:
        return {
            "network": self.bed.name,
            "task": self.task,
            "method": self.method,
            "length": self.bed.steps,
            "seed": seed,
        }

    def train(self, seed: int, **settings: Any) -> dict[str, Any]:
        """Train a new model; None: the training diverged."""
        model = self.bed.model(self.task, self.method, seed)
        train, val = self.bed.sets(self.task)
        said = Settings(
            epochs=1, max_steps=self.bed.steps, steps_per_epoch=self.bed.steps, warmup=0.1, seed=seed, **settings
        )
        try:
            result = train_task(model, self.task, train, val, said, quiet=True)
        except DivergedError:
            return {"accuracy": None}
        return {"accuracy": result.best["val_accuracy"], **result.rates}

    def point(self, rates: Rates, seed: int = 0) -> float:
        """The accuracy at these rates; what diverged counts as nothing."""
        optimizers = {group: OptimizerSettings(lr=rate) for group, rate in rates.items()}
        key = {**self.key(seed), "rates": {group: float(f"{rate:.6g}") for group, rate in rates.items()}}
        return once(key, lambda: self.train(seed, optimizers=optimizers))["accuracy"] or 0.0

    def sweep(self) -> tuple[Rates, int]:
        """The best rates of seed 0, and how many trainings they took."""
        octaves = dict.fromkeys(self.defaults, 0)
        tried: set[tuple[int, ...]] = set()

        def at(places: Mapping[str, int]) -> float:
            tried.add(tuple(places.values()))
            return self.point(self.rates(places))

        for moving in [[*octaves], *([group] for group in octaves if len(octaves) > 1)]:
            start = dict(octaves)
            for way in (1, -1):
                while at(there := {g: n + way * (g in moving) for g, n in octaves.items()}) > at(octaves) or (
                    not at(octaves) and way < 0 and min(there.values()) > -9
                ):
                    octaves = there
                if octaves != start:
                    break
        return self.rates(octaves), len(tried)

    def rates(self, octaves: Mapping[str, int]) -> Rates:
        return {group: rate * 2.0 ** octaves[group] for group, rate in self.defaults.items()}

    def test(self, seed: int) -> dict[str, Any]:
        """What `lr="auto"` finds, and the accuracy there."""
        return once({**self.key(seed), "rates": "auto"}, lambda: self.train(seed, lr="auto"))


def lowest(trials: Trials) -> Rates:
    """Where the loss of a trial was lowest."""
    return min(trials, key=lambda one: math.inf if one["loss"] is None else one["loss"])["lr"]


def jointly(defaults: Rates, trials: Trials) -> Rates:
    """The same, of those trials in which no group had moved by itself."""
    together = [one for one in trials if len({round(math.log2(one["lr"][g] / defaults[g])) for g in defaults}) == 1]
    return lowest(together)


def halved(rates: Rates) -> Rates:
    return {group: rate / 2 for group, rate in rates.items()}


RULES: dict[str, Callable[[Rates, Trials], Rates]] = {
    "defaults": lambda defaults, trials: defaults,
    "lowest": lambda defaults, trials: lowest(trials),
    "lowest together": jointly,
    "lowest together, halved": lambda defaults, trials: halved(jointly(defaults, trials)),
}


def compared(pair: Pair) -> dict[str, float]:
    """Mean accuracy over the seeds, in points from the sweep's rates; and the share of its steps that trials took."""
    best, trainings = pair.sweep()
    swept = [pair.point(best, seed) for seed in SEEDS]
    tests = [pair.test(seed) for seed in SEEDS]
    found = {"auto": [one["accuracy"] or 0.0 for one in tests]}
    for name, rule in RULES.items():
        found[name] = [
            pair.point(rule(pair.defaults, one["trials"]), seed) for seed, one in zip(SEEDS, tests, strict=True)
        ]
    differences = {name: 100 * (fmean(each) - fmean(swept)) for name, each in found.items()}
    cost = fmean(one["steps"] for one in tests) / (trainings * pair.bed.steps)
    print(f"{pair.task}, {pair.method}: swept {fmean(swept):.1%} {best}, {trainings} trainings")
    return {"swept": 100 * fmean(swept), **differences, "cost": 100 * cost}


if __name__ == "__main__":
    bed = BEDS[sys.argv[1] if sys.argv[1:] else "small"]()
    rows: dict[str, dict[str, float]] = {}
    for task in bed.tasks:
        for method in bed.methods:
            if not sys.argv[2:] or f"{task}, {method}" in sys.argv[2:]:
                rows[f"{task}, {method}"] = compared(Pair(bed, task, method))
    if rows:
        rows["mean"] = {name: fmean(row[name] for row in rows.values()) for name in next(iter(rows.values()))}
    for label, row in rows.items():
        print(f"{label:>24} " + "  ".join(f"{name} {value:+.1f}" for name, value in row.items()))

"""The time of a comparison: estimated before it begins, corrected as it runs, shown in a bar."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch.utils.data import Subset

from ..config.compare import CompareConfig
from ..methods import Method
from ..report import duration
from ..tasks import write_atomically
from ..train import Settings, train_task
from ._compare_runs import Bench, Trained, at_rates, home_of, with_tasks

BATCHES, EPOCHS = 3, 2
"""The timed training's batches per epoch and epochs; the first epoch warms up, the last one counts."""


def seconds_of(bench: Bench, method: Method) -> float:
    """An upper bound on the seconds of training all tasks once, from a few batches of the first task.

    Early stopping and cached features make the training shorter; the bound ignores both.
    """
    home = home_of(bench, method, bench.plan.seed, bench.plan.output)
    found = Trained(with_tasks(bench, home), home)
    first, task = home.tasks[0], bench.tasks[0]
    settings: Settings = home.together.training if home.together else first.train
    data, size = task.sets(settings.seed), settings.batch_size
    train, val = (_some(whole, BATCHES * size) for whole in (data.train, data.val))
    probe = at_rates(found, settings, [task.name], 1.0).model_copy(
        update={
            "epochs": EPOCHS,
            "max_steps": None,
            "steps_per_epoch": None,
            "phases": None,
            "threads": None if settings.threads == "auto" else settings.threads,
            "cache_features": "never",
            "reestimate_norm": False,
            "patience": None,
        }
    )
    alone = Settings.model_validate(probe.model_dump(include={*Settings.model_fields}))
    result = train_task(found.model, task.name, train, val, alone, quiet=True, **task.seams)
    before, after = (point["seconds"] for point in result.curve[-2:])
    per_sample = 1 / max(result.curve[-1]["samples_per_second"], 1e-9)
    per_val = max(after - before - per_sample * len(train), 0.0) / len(val)
    return sum(samples * per_sample + looked * per_val for samples, looked in _amounts(bench, home))


def _amounts(bench: Bench, home: CompareConfig) -> Iterator[tuple[int, int]]:
    """For each training that one pass over all tasks has: its training samples, and the samples of its validations."""
    sizes = [(len(sets.train), len(sets.val)) for sets in (task.sets(0) for task in bench.tasks)]  # type: ignore[arg-type]
    if home.together:
        sizes = [(sum(train for train, _ in sizes), sum(val for _, val in sizes))]
    settings = [home.together.training] if home.together else [part.train for part in home.tasks]
    for (train, val), one in zip(sizes, settings, strict=True):
        each = one.steps_per_epoch or -(-train // one.batch_size)
        steps = one.max_steps or each * one.epochs
        yield steps * one.batch_size, -(-steps // each) * val


def _some(data: Any, count: int) -> Subset[Any]:
    return Subset(data, range(min(count, len(data))))


class Estimates:
    """The seconds of one training of all tasks, by method; kept in a file, so that they are measured once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = {}
        if file.is_file():
            self.seconds = json.loads(file.read_text(encoding="utf-8"))

    def note(self, label: str, seconds: float) -> None:
        self.seconds[label] = seconds
        write_atomically(self.file, json.dumps(self.seconds, indent=1).encode())


class Progressing:
    """The progress bar of a comparison; silent if the output is not a terminal."""

    def __init__(self, seconds: Mapping[str, float], passes: Mapping[str, int], trainings: int) -> None:
        self.seconds, self.trainings = seconds, trainings
        self.left = dict(passes)
        self.done, self.of = 0, trainings * sum(passes.values())
        self.now, self.start, self.foreseen = "", time.monotonic(), 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]} of {task.fields[of]} trainings"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        shown = {"done": 0, "of": self.of, "rate": "", "left": f"about {duration(self.remaining)} left"}
        self._bar = self._progress.add_task("", total=max(self.remaining, 1e-9), **shown)

    @property
    def remaining(self) -> float:
        """The seconds left: the estimate times the finished trainings' ratio of real to estimated time."""
        to_come = sum(count * self.seconds.get(label, 0.0) for label, count in self.left.items()) - self._part
        spent = time.monotonic() - self.start
        return max(to_come, 0.0) * (spent / self.foreseen if self.foreseen else 1.0)

    @property
    def _part(self) -> float:
        """The finished part of the running pass."""
        return (self.done % self.trainings) / self.trainings * self.seconds.get(self.now, 0.0)

    def begin(self, label: str, what: str) -> None:
        """Begin a pass over all tasks."""
        self.now = label
        self._progress.update(self._bar, description=f"{label}: {what}")

    def trained(self) -> None:
        """Count a finished training."""
        self.done += 1
        self.foreseen += self.seconds.get(self.now, 0.0) / self.trainings
        self.show()

    def ended(self, label: str, complete: bool = True) -> None:
        """End a pass over all tasks, complete or not."""
        self.left[label] = max(self.left.get(label, 1) - 1, 0)
        if not complete:
            self.done += -self.done % self.trainings
        self.show()

    def show(self) -> None:
        spent = time.monotonic() - self.start
        rate = f"{60 * self.done / spent:.3g}/min" if spent and self.done else ""
        left = f"about {duration(self.remaining)} left"
        shown = {"done": self.done, "rate": rate, "left": left}
        self._progress.update(self._bar, completed=spent, total=max(spent + self.remaining, 1e-9), **shown)

    def __enter__(self) -> Progressing:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self._progress.disable:
            self._progress.stop()

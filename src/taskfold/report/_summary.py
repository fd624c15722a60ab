"""Runs as one row per method label, with means and spreads over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .schema import Results, Run


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation over ``n`` seeds; ``std`` is None for one seed."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Stat:
        """Summarise at least one value.

        >>> Stat.of([0.5, 0.7]).mean, Stat.of([0.5]).std
        (0.6, None)
        """
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), std, len(values))


@dataclass(frozen=True)
class Row:
    """All runs of one method label."""

    label: str
    method: str
    runs: tuple[Run, ...]
    backbone: int

    def on(self, task: str) -> tuple[Run, ...]:
        """The runs on one task."""
        return tuple(run for run in self.runs if run.task == task)

    def accuracy(self, task: str) -> Stat | None:
        """Test accuracy on one task; None: every run failed, or there is none."""
        values = [run.accuracy for run in self.on(task) if run.accuracy is not None]
        return Stat.of(values) if values else None

    def tasks(self) -> frozenset[str]:
        """Tasks with at least one measured run."""
        return frozenset(run.task for run in self.runs if run.failed is None)

    def mean(self, tasks: Iterable[str] | None = None) -> Stat | None:
        """Mean test accuracy over tasks, by default over the measured ones.

        The spread is that of the seeds' means, over the seeds measured on all of the tasks.
        """
        chosen = sorted(self.tasks() if tasks is None else tasks)
        stats = [self.accuracy(task) for task in chosen]
        means = [stat.mean for stat in stats if stat is not None]
        if not means or len(means) < len(chosen):
            return None
        by_seed: dict[int, list[float]] = {}
        for run in self.runs:
            if run.accuracy is not None and run.task in chosen:
                by_seed.setdefault(run.seed, []).append(run.accuracy)
        whole = [statistics.fmean(values) for values in by_seed.values() if len(values) == len(chosen)]
        std = statistics.stdev(whole) if len(whole) > 1 else None
        return Stat(statistics.fmean(means), std, max(len(whole), 1))

    def cost(self, of: Callable[[Run], float | None]) -> float | None:
        """A cost per task: mean over tasks of the mean over measured runs."""
        means = []
        for task in sorted(self.tasks()):
            values = [of(run) for run in self.on(task) if run.failed is None]
            known = [value for value in values if value is not None]
            if known:
                means.append(statistics.fmean(known))
        return statistics.fmean(means) if means else None

    @property
    def adapter(self) -> float | None:
        """Parameters per task without the head."""
        return self.cost(lambda run: run.adapter)

    @property
    def parameters(self) -> float | None:
        """Parameters per task, head included."""
        return self.cost(lambda run: sum(run.parameters.values()) if run.parameters else None)

    @property
    def share(self) -> float | None:
        """Parameters per task without the head, as a fraction of the backbone's."""
        return None if self.adapter is None else self.adapter / self.backbone

    @property
    def rank(self) -> float | None:
        """The rank, if all runs have the same."""
        ranks = {run.rank for run in self.runs}
        return ranks.pop() if len(ranks) == 1 else None

    @property
    def failures(self) -> tuple[Run, ...]:
        """The failed runs."""
        return tuple(run for run in self.runs if run.failed is not None)


def rows(results: Results) -> tuple[Row, ...]:
    """One row per label: smallest number of parameters first, labels without a measurement last."""
    by_label: dict[str, list[Run]] = {}
    for run in results.runs:
        by_label.setdefault(run.label, []).append(run)
    unsorted = [
        Row(label, runs[0].method, tuple(runs), results.backbone.parameters) for label, runs in by_label.items()
    ]

    def size(row: Row) -> tuple[bool, float]:
        return not row.tasks(), row.parameters if row.parameters is not None else float("inf")

    return tuple(sorted(unsorted, key=size))


def best(candidates: Iterable[Row]) -> Row | None:
    """The row with the highest mean accuracy among those measured on the most tasks."""
    ranked = [(len(row.tasks()), row.mean(), row) for row in candidates]
    scored = [(tasks, mean.mean, row) for tasks, mean, row in ranked if mean is not None]
    return max(scored, key=lambda item: item[:2])[2] if scored else None

"""The demonstrations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from taskfold.processes import worthwhile
from taskfold.threads import Choice

from ..trainings import Compare, plan
from ._dense_plan import dense_plan
from ._dense_run import run_dense_demo
from ._routing_plan import routing_plan
from ._routing_run import run_routing_demo
from ._run import run_demo

Run = Callable[..., Mapping[str, Any]]
"""With `out`, a folder, and `command`, for the report; returns the results document."""


def _tasks(compare: Compare, seeds: int, quick: bool, threads: Choice, processes: int | None) -> Run:
    made = plan(compare, seeds=seeds, quick=quick)
    if processes is None:  # quick ones end before others have started
        processes = 1 if quick else worthwhile(len(made.entries) * seeds, threads)
    shared = processes > 1 and threads == "auto"  # processes side by side would time one another
    return partial(run_demo, replace(made, threads=None if shared else threads, processes=processes))


def _routing(compare: Compare, seeds: int, quick: bool, threads: Choice, processes: int | None) -> Run:
    _check_alone("routing", processes)
    made = routing_plan("quick" if quick else "demo", seeds=tuple(range(seeds)), compare=compare)
    return partial(run_routing_demo, replace(made, threads=threads))


def _dense(compare: Compare, seeds: int, quick: bool, threads: Choice, processes: int | None) -> Run:
    _check_alone("dense", processes)
    made = dense_plan("quick" if quick else "demo", seeds=tuple(range(seeds)), compare=compare)
    return partial(run_dense_demo, replace(made, threads=threads))


def _check_alone(name: str, processes: int | None) -> None:
    if processes not in (None, 1):
        raise ValueError(
            f"--processes {processes}: the demonstration {name!r} runs in one process; leave --processes out"
        )


DEMOS: Mapping[str, Callable[[Compare, int, bool, Choice, int | None], Run]] = {
    "tasks": _tasks,
    "routing": _routing,
    "dense": _dense,
}

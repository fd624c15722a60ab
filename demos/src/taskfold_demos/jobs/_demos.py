"""The demonstrations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from taskfold.threads import Choice

from ._dense_plan import dense_plan
from ._dense_run import run_dense_demo
from ._plan import Compare, plan
from ._routing_plan import routing_plan
from ._routing_run import run_routing_demo
from ._run import run_demo

Run = Callable[..., Mapping[str, Any]]
"""With `out`, a folder, and `command`, for the report; returns the results document."""


def _tasks(compare: Compare, seeds: int, quick: bool, threads: Choice) -> Run:
    return partial(run_demo, replace(plan(compare, seeds=seeds, quick=quick), threads=threads))


def _routing(compare: Compare, seeds: int, quick: bool, threads: Choice) -> Run:
    made = routing_plan("quick" if quick else "demo", seeds=tuple(range(seeds)), compare=compare)
    return partial(run_routing_demo, replace(made, threads=threads))


def _dense(compare: Compare, seeds: int, quick: bool, threads: Choice) -> Run:
    made = dense_plan("quick" if quick else "demo", seeds=tuple(range(seeds)), compare=compare)
    return partial(run_dense_demo, replace(made, threads=threads))


DEMOS: Mapping[str, Callable[[Compare, int, bool, Choice], Run]] = {
    "tasks": _tasks,
    "routing": _routing,
    "dense": _dense,
}

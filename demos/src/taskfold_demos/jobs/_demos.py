"""The demonstrations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ._dense_plan import dense_plan
from ._dense_run import run_dense_demo
from ._plan import Compare, plan
from ._routing_plan import routing_plan
from ._routing_run import run_routing_demo
from ._run import run_demo

Run = Callable[..., Mapping[str, Any]]
"""With `out`, a folder, and `command`, for the report; returns the results document."""


def _tasks(compare: Compare, seeds: int, quick: bool) -> Run:
    return partial(run_demo, plan(compare, seeds=seeds, quick=quick))


def _routing(compare: Compare, seeds: int, quick: bool) -> Run:
    size = "quick" if quick else "demo"
    return partial(run_routing_demo, routing_plan(size, seeds=tuple(range(seeds)), compare=compare))


def _dense(compare: Compare, seeds: int, quick: bool) -> Run:
    size = "quick" if quick else "demo"
    return partial(run_dense_demo, dense_plan(size, seeds=tuple(range(seeds)), compare=compare))


DEMOS: Mapping[str, Callable[[Compare, int, bool], Run]] = {"tasks": _tasks, "routing": _routing, "dense": _dense}

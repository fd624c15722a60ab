"""The costs of running a trained task: multiply-adds and time, folded, unfolded and in a mixed batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..model import MultiTask
from ..operations import counted
from ..train import Labelled
from ._compare_runs import Bench
from ._prepare import new_model
from ._ready import Ready
from ._tasks import SUFFIX, add_stored, best_device

ROWS = 16
"""Rows of the timed batch."""
ROUNDS, MOST = 9, 20.0
"""The most rounds over all methods; and the seconds after which no further round begins."""
WAYS = ("unfolded", "folded", "mixed")

Given = tuple[tuple[Any, ...], dict[str, Any]]
"""Inputs of the network, positional and by name."""


@dataclass
class Costs:
    """The costs of a method.

    Attributes:
        multiply_adds: for one input of the first task: `unfolded`, and `folded` if the method folds.
        milliseconds: per input in a batch of `ROWS`: those, and `mixed`, rows of all tasks in turn.
    """

    multiply_adds: dict[str, int]
    milliseconds: dict[str, float]


class _GivenError(Exception):
    def __init__(self, given: Given) -> None:
        super().__init__()
        self.given = given


@torch.no_grad()
def costs_of(bench: Bench, folders: Mapping[str, Path]) -> dict[str, Costs]:
    """The costs of methods, with the task files of one run each; they take turns, since the machine's load varies."""
    found: dict[str, Costs] = {}
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for label, folder in folders.items():
        model = _stored(bench, folder)
        costs = found[label] = Costs({}, {})
        first = bench.tasks[0]
        one, many = (_given(model, [first] * rows, bench) for rows in (1, ROWS))
        mixed = _given(model, [bench.tasks[n % len(bench.tasks)] for n in range(ROWS)], bench)
        plain = model.fold(first.name).eval() if model.foldable(first.name) else None
        if many is not None:
            calls[label, "unfolded"] = _call(model, many, task=first.name)
        if many is not None and plain is not None:
            calls[label, "folded"] = _call(plain, many)
        if mixed is not None and len(bench.tasks) > 1:
            names = [bench.tasks[n % len(bench.tasks)].name for n in range(ROWS)]
            calls[label, "mixed"] = _call(model, mixed, task=names)
        for way, call in list(calls.items()):
            if way[0] == label and not _runs(call):
                del calls[way]
        if one is not None and (label, "unfolded") in calls:
            single = _call(model, one, task=first.name)
            single()
            costs.multiply_adds["unfolded"] = counted(single)
            if plain is not None:
                costs.multiply_adds["folded"] = counted(_call(plain, one))
    for (label, way), seconds in _timed(calls).items():
        found[label].milliseconds[way] = 1000 * seconds / ROWS
    return found


def _timed(calls: Mapping[tuple[str, str], Callable[[], object]]) -> dict[tuple[str, str], float]:
    """The least seconds of each call, all timed in turn: other load only adds time."""
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    begun = time.perf_counter()
    for done in range(ROUNDS):
        if done and time.perf_counter() - begun > MOST:
            break
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            _wait()
            taken[key].append(time.perf_counter() - start)
    return {key: min(each) for key, each in taken.items()}


def _stored(bench: Bench, folder: Path) -> MultiTask:
    """The model of a run, from its files."""
    model = new_model(bench.loaded).eval()
    if (inventory := folder / "inventory.safetensors").is_file():
        model.load_inventory(inventory)
    for task in bench.tasks:
        add_stored(model, folder / "tasks" / f"{task.name}{SUFFIX}", bench.loaded)
    return model.to(best_device()).eval()


def _given(model: MultiTask, tasks: Sequence[Ready], bench: Bench) -> Given | None:
    """The network's inputs in validation, for one sample of each task; None: the samples do not form one batch."""
    seams, seen, samples = tasks[0].seams, dict[str, int](), list[Any]()
    for task in tasks:
        val, number = task.sets(bench.plan.seed).val, seen.get(task.name, 0)
        samples.append(val[number % len(val)])  # type: ignore[arg-type]
        seen[task.name] = number + 1
    try:
        if "collate" not in seams:
            return (torch.stack([inputs for inputs, _ in samples]).to(best_device()),), {}
        batch = seams["collate"](samples).to(best_device())
        if isinstance(batch, Labelled):
            return (), batch.inputs
        if hasattr(batch, "images"):
            return (batch.images,), {}
        (seams.get("measure") or seams["objective"])(_Stand(model), batch, [task.name for task in tasks])
    except _GivenError as found:
        return found.given
    except (RuntimeError, ValueError, TypeError, KeyError):
        return None
    return None


class _Stand:
    """A stand-in for the model whose forward pass only raises its inputs."""

    def __init__(self, model: MultiTask) -> None:
        self._model = model

    def __call__(self, *args: Any, task: Any, **named: Any) -> None:
        del task
        raise _GivenError((args, named))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _call(network: Callable[..., Any], given: Given, **more: Any) -> Callable[[], object]:
    args, named = given

    def call() -> object:
        with torch.no_grad():
            return network(*args, **named, **more)

    return call


def _runs(call: Callable[[], object]) -> bool:
    """Whether a method can do this; this first pass, which looks at the network, is not timed."""
    try:
        call()
    except (RuntimeError, ValueError, TypeError):
        return False
    return True


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

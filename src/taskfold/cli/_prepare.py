"""Prepares a run, and finds all errors before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import nn

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..config import Plan, TaskPart, kind_named
from ..config.run import Config
from ..problems import Classification
from ..refusals import RefusalError
from ..train import check_classes
from ._output import FAULTS, UserError
from ._ready import PlacedError, Ready, Shelf


def ready_kind(name: str) -> type[Ready]:
    """The `Ready` subclass for a kind of data."""
    known = kind_named(name)
    if known is None:
        raise UserError(f"tasks for {name!r} are not known here; they were saved by another version of taskfold")
    module, _, kind = known.job.partition(":")
    return getattr(import_module(f"{__package__}.{module}"), kind)


def grounded(plan: Plan, loaded: LoadedBackbone) -> LoadedBackbone:
    """The backbone as the tasks of a configuration need it; all are of one kind."""
    return ready_kind(plan.parts[0].kind.name).ground(loaded)


@dataclass(frozen=True)
class Opened:
    """A model to add tasks to.

    Attributes:
        model: holds tasks or an inventory that new tasks use.
        loaded: the backbone.
        known: `Ready.information` of a task that new ones follow.
    """

    model: MultiTask
    loaded: LoadedBackbone
    known: Mapping[str, Any] | None = None


Adding = Callable[[Opened, TaskPart, Ready], None]


def prepare(config: Config, check: Callable[[MultiTask], None] | None = None) -> tuple[Opened, list[Ready]]:
    """The backbone with all tasks added, untrained, and their data.

    `check` is called before the data are read, with a model of these tasks whose heads have one output.
    """

    @cache
    def opening() -> Opened:
        loaded = grounded(config, config.load_backbone())
        return Opened(new_model(loaded), loaded)

    if check is not None:
        try:
            outlined = _outlined(config, opening().loaded)
        except FAULTS:  # `gather` reports it, beside the errors of the data
            outlined = None
        if outlined is not None:
            check(outlined)
    return gather(config, "backbone", opening, adding(config))


def _outlined(config: Config, loaded: LoadedBackbone) -> MultiTask:
    model = new_model(loaded)
    for task in config.tasks:
        model.add_task(task.name, None if task.kind.name == "texts" else nn.Linear(1, 1), method=task.method)
    return model


def adding(config: Config) -> Adding:
    """A function that adds a configuration's task to a model."""
    methods = {task.name: task.method for task in config.tasks}

    def add(opened: Opened, task: TaskPart, ready: Ready) -> None:
        # A task's initial numbers do not depend on other tasks.
        with seeded(config.together.seed if config.together else task.train.seed):
            opened.model.add_task(task.name, ready.head, method=methods[task.name], **ready.belonging)

    return add


def gather(plan: Plan, ground: str, opening: Callable[[], Opened], add: Adding) -> tuple[Opened, list[Ready]]:
    """Loads the network and the data of all tasks, and reports all their errors at once."""
    problems: list[tuple[str, str]] = []
    data: dict[str, Any] = {}
    shelf: Shelf = {}
    for index, task in enumerate(plan.parts):
        try:
            data[task.name] = ready_kind(task.kind.name).read(plan, task, shelf)
        except PlacedError as error:
            problems.append((plan.key(index, error.place), str(error)))
        except FAULTS as error:
            problems += [(plan.key(index, "source"), text.strip()) for text in _each(str(error), task.name)]
    try:
        opened = opening()
    except FAULTS as error:
        place = error.place if isinstance(error, PlacedError) else ground
        raise _failed(plan, [(place, str(error)), *problems]) from None
    ready: list[Ready] = []
    for index, task in enumerate(plan.parts):
        if task.name not in data:
            continue
        if task.name in opened.model.tasks:
            text = f"there is a task {task.name!r} already among those that this one follows; choose another name"
            problems.append((f"tasks[{plan.place(index)}].name", text))
            continue
        place = ground
        try:
            one = ready_kind(task.kind.name).prepare(task, data[task.name], opened.loaded, opened.known)
            place = plan.method_key(index)
            add(opened, task, one)
            ready.append(one)
            together = plan.together if isinstance(plan, Config) else None
            place = "together" if together else plan.key(index, "train")
            seams = one.seams
            problem = None if "objective" in seams else seams.get("problem", Classification())
            check_classes(together or task.train, one.name, problem, len(one.labels) or None, seams.get("collate"))
        except PlacedError as error:
            problems.append((plan.key(index, error.place), str(error)))
        except (ValueError, RefusalError) as error:
            problems.append((place, str(error)))
    if problems:
        raise _failed(plan, problems)
    return opened, ready


def new_model(loaded: LoadedBackbone) -> MultiTask:
    return MultiTask(loaded.network, features=loaded.features, num_features=loaded.num_features)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with random numbers from a seed; the program's random state is restored."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _each(message: str, name: str) -> list[str]:
    """The parts of a list of errors, without the task's name, which their place implies."""
    return [part for part in f"\n{message}".split(f"\ntask {name!r}: ") if part.strip()]


def _failed(plan: Plan, problems: list[tuple[str, str]]) -> UserError:
    """The errors in words; common ones of many tasks are said once."""
    places: dict[str, list[str]] = {}
    for place, text in problems:
        known = places.setdefault(text, [])
        known += [place] if place not in known else []
    lines = [
        f"{plan.path}: {first}: {text}" + (f" (and {len(others)} other tasks)" if others else "")
        for text, (first, *others) in places.items()
    ]
    return UserError("\n".join(lines))

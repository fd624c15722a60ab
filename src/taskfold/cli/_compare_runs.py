"""One training of all tasks of a comparison by one method, and its results."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..backbones import LoadedBackbone
from ..config.compare import Candidate, CompareConfig
from ..config.run import TaskConfig
from ..methods import Method
from ..model import MultiTask, count_task, file_bytes
from ..refusals import RefusalError
from ..tasks import write_atomically
from ..threads import cores
from ..train import (
    LESS_IS_BETTER,
    CheckpointError,
    CollapseWarning,
    JointResult,
    OptimizerSettings,
    Result,
    Settings,
    group_rates,
    idle_settings,
    train_task,
    train_together,
)
from ._compare_search import Point
from ._origin import Origin
from ._prepare import Opened, adding, new_model
from ._ready import Ready, named
from ._story import points
from ._trainings import test
from ._versions import publish

KEPT, POINT = "result.json", "point.json"


class UntrainedError(ValueError):
    """A method does not train on these tasks, or does not fit the network."""


@dataclass(frozen=True)
class Bench:
    """The common parts of a comparison's trainings.

    Attributes:
        plan: the configuration.
        loaded: the backbone.
        tasks: the tasks with their data.
        trained: called after each task's training, or after the joint one.
    """

    plan: CompareConfig
    loaded: LoadedBackbone
    tasks: list[Ready]
    trained: Callable[[], None] = lambda: None

    @property
    def trainings(self) -> int:
        """The number of trainings that train each task once."""
        return 1 if self.plan.together else len(self.tasks)


@dataclass
class Trained:
    """All tasks, trained once.

    Attributes:
        model: holds the tasks.
        results: each task's training result; a joint training has one for all.
        rates: learning rates by group of parameters.
        said: warnings of collapsed trainings.
    """

    model: MultiTask
    home: CompareConfig
    results: dict[str, Result] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The seconds of training, per task."""
        return sum({id(one): one.seconds for one in self.results.values()}.values()) / len(self.results)

    @property
    def scores(self) -> dict[str, float]:
        """Validation scores by task; higher is better."""
        found: dict[str, float] = {}
        for part in self.home.tasks:
            settings: Settings = self.home.together or part.train
            best = _best(self.results[part.name], part.name)
            by = judged_by(settings, best)
            found[part.name] = best[f"val_{by}"] * (-1 if by in LESS_IS_BETTER else 1)
        return found

    @property
    def score(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


def judged_by(settings: Settings, best: Mapping[str, Any]) -> str:
    """The validation measure that compares trainings: one for all, even with `select_by="auto"`."""
    if settings.select_by not in ("auto", "last"):
        return settings.select_by
    return "accuracy" if "val_accuracy" in best else "loss"


def home_of(bench: Bench, method: Method, seed: int, folder: Path) -> CompareConfig:
    """The configuration of one training of all tasks, in a folder of its own."""
    plan = bench.plan
    tasks = tuple(
        part.model_copy(update={"method": method, "train": part.train.model_copy(update={"seed": seed})})
        for part in plan.tasks
    )
    together = plan.together and plan.together.model_copy(update={"seed": seed})
    return plan.model_copy(update={"output": folder, "tasks": tasks, "together": together})


def with_tasks(bench: Bench, home: CompareConfig) -> MultiTask:
    """A model with all tasks, untrained."""
    model = new_model(bench.loaded)
    for _ in _added(model, bench, home):
        pass
    return model


def _added(model: MultiTask, bench: Bench, home: CompareConfig) -> Iterator[tuple[TaskConfig, Ready]]:
    """Adds one task after another: some methods stand on what the tasks before have become."""
    opened, add = Opened(model, bench.loaded), adding(home)
    for part, task in zip(home.tasks, bench.tasks, strict=True):
        try:
            add(opened, part, task)
        except (ValueError, RefusalError) as error:
            raise UntrainedError(str(error)) from error
        yield part, task


def fitting(bench: Bench, candidate: Candidate) -> Method:
    """The method, with the first of the searched values that fits the network."""
    reason = UntrainedError("")
    for values in itertools.product(*candidate.search.values()):
        method = candidate.at(dict(zip(candidate.search, values, strict=True)))
        try:
            with_tasks(bench, home_of(bench, method, bench.plan.seed, bench.plan.output))
        except UntrainedError as error:
            reason = error
        else:
            return method
    raise reason


def train_all(bench: Bench, home: CompareConfig, factor: float) -> Trained:
    """Train every task, or resume."""
    found = Trained(new_model(bench.loaded), home)
    with _failing(), _collapsing(found.said):
        if home.together:
            found.model = with_tasks(bench, home)
            settings = at_rates(found, home.together.training, [task.name for task in bench.tasks], factor)
            sets, seams = type(bench.tasks[0]).joint(bench.tasks, settings.seed)
            joint: JointResult = train_together(
                found.model, sets, settings, **seams, folder=home.output / "together", quiet=True
            )
            found.results = dict.fromkeys((task.name for task in bench.tasks), joint)
            _settle(joint, bench)
        else:
            for part, task in _added(found.model, bench, home):
                settings, data = at_rates(found, part.train, [task.name], factor), task.sets(part.train.seed)
                with _failing(task.name):
                    result = train_task(
                        found.model,
                        task.name,
                        data.train,
                        data.val,
                        settings,
                        folder=home.run_folder(part),
                        plain=data.plain,
                        quiet=True,
                        **task.seams,
                    )
                found.results[task.name] = result
                _settle(result, bench)
        for task in bench.tasks:
            task.settle(found.model)
        if odd := [repr(name) for name, score in found.scores.items() if not math.isfinite(score)]:
            raise UntrainedError(f"task {', '.join(odd)}: the validation loss of no epoch is a finite number")
    return found


def at_rates(found: Trained, settings: Any, names: list[str], factor: float) -> Any:
    """The settings that act on these tasks, with the method's rates times `factor` for groups that are not listed."""
    own = group_rates(found.model, names)
    acting = settings.only(own, idle_settings(found.model, names))
    chosen = {group: OptimizerSettings(lr=rate * factor) for group, rate in own.items()} | acting.optimizers
    found.rates |= {group: one.lr for group, one in chosen.items()}
    return acting.model_copy(update={"optimizers": chosen})


def finish(bench: Bench, found: Trained) -> dict[str, Any]:
    """Test a training of all tasks, save its task files and its record."""
    model, home, plain = found.model, found.home, len({id(one) for one in found.results.values()}) == len(bench.tasks)
    shared = home.together is not None and sum(leaf.numel() for leaf in model.inventory.parameters())
    Origin.of(home, inventory=bool(shared)).write(home.output)
    if shared:
        model.save_inventory(home.inventory_file)
    tasks: dict[str, Any] = {}
    for task in bench.tasks:
        tested, own, result = test(model, task), model[task.name], found.results[task.name]
        publish(home, model, task)
        tasks[task.name] = {
            "score": found.scores[task.name],
            "tested": {"accuracy": tested.accuracy, "metrics": named(tested)},
            "titles": {tested.title(name): value for name, value in tested.metrics.items()},
            "plain": [tested.title(name) for name in tested.others],
            "better": {tested.title(name): more for name, more in tested.better.items()},
            "parameters": count_task(own),
            "settings": dict(own.method["settings"]),
            "bytes": file_bytes(own),
            "seconds": result.seconds if plain else found.seconds,
            "curve": points(result.curve),
            "best": {key: value for key, value in _best(result, task.name).items() if key.startswith("val_")},
        }
    kept = {"tasks": tasks, "score": found.score, "rates": found.rates, "seconds": found.seconds, "said": found.said}
    keep(home.output, kept)
    return kept


def keep(folder: Path, kept: Mapping[str, Any]) -> None:
    """Record the result of a finished run, which then is not trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / KEPT, json.dumps(kept, ensure_ascii=False, default=str).encode())


def began(folder: Path, point: Point) -> None:
    """Record a run's rates and settings; a run in its folder with other ones is deleted."""
    file = folder / POINT
    if not file.is_file() or json.loads(file.read_text(encoding="utf-8")) != _said(point):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_atomically(file, json.dumps(_said(point)).encode())


def kept_in(folder: Path, point: Point) -> dict[str, Any] | None:
    """The result of a finished run, if it had these rates and settings."""
    try:
        if json.loads((folder / POINT).read_text(encoding="utf-8")) != _said(point):
            return None
        return json.loads((folder / KEPT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _said(point: Point) -> dict[str, Any]:
    return json.loads(json.dumps({"factor": point.factor, "settings": point.settings}, default=str))


def _best(result: Result, name: str) -> dict[str, Any]:
    return result.tasks[name] if isinstance(result, JointResult) else result.best


def _settle(result: Result, bench: Bench) -> None:
    torch.set_num_threads(min(result.threads, cores()))
    bench.trained()


@contextmanager
def _failing(task: str | None = None) -> Iterator[None]:
    """Attributes training errors to the method and the task, except those of unusable folders."""
    try:
        yield
    except (CheckpointError, UntrainedError):
        raise
    except (ValueError, RuntimeError, RefusalError) as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        whose = f"task {task!r}: " if task is not None and repr(task) not in text else ""
        raise UntrainedError(f"{whose}{text}") from error


@contextmanager
def _collapsing(said: list[str]) -> Iterator[None]:
    """Collects collapse warnings silently: a search meets many at high rates."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def note(message: Warning | str, kind: type[Warning], *more: Any) -> None:
            if issubclass(kind, CollapseWarning):
                said.append(str(message))
            else:
                shown(message, kind, *more)

        warnings.simplefilter("always", CollapseWarning)
        warnings.showwarning = note  # type: ignore[assignment]
        yield

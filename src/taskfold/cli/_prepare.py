"""Everything that can be wrong with a run, found before it begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..config.run import Config, TaskConfig
from ..data import Preprocessing, TaskData, sound
from ._output import UserError


@dataclass(frozen=True)
class Ready:
    """A task that can be trained.

    Attributes:
        config: what the configuration says of it.
        data: its images, checked.
        preprocessing: how they become tensors.
    """

    config: TaskConfig
    data: TaskData
    preprocessing: Preprocessing

    @property
    def name(self) -> str:
        """Of the task."""
        return self.config.name


def prepare(config: Config) -> tuple[MultiTask, LoadedBackbone, list[Ready]]:
    """The backbone with all tasks added, untrained, and their data.

    Raises:
        UserError: lists all that is wrong with backbone, data and methods.
    """
    problems: list[str] = []
    data: dict[str, TaskData] = {}
    for index, task in enumerate(config.tasks):
        try:
            data[task.name] = load_data(config, task)
        except (ValueError, OSError, ImportError) as error:
            problems += [f"tasks[{index}].source: {text.strip()}" for text in _each(str(error), task.name)]
    try:
        loaded = config.load_backbone()
    except (ValueError, OSError, ImportError) as error:
        raise _failed(config, [f"backbone: {error}", *problems]) from None
    model = MultiTask(loaded.network, features=loaded.features, num_features=loaded.num_features)
    ready: list[Ready] = []
    for index, task in enumerate(config.tasks):
        try:
            ready += [_add(model, loaded, task, data[task.name])] if task.name in data else []
        except ValueError as error:
            problems.append(f"tasks[{index}].method: {error}")
    if problems:
        raise _failed(config, problems)
    return model, loaded, ready


def load_data(config: Config, task: TaskConfig) -> TaskData:
    """A task's images, every one of them decoded once.

    Raises:
        DataError, MissingDataError, ImportError: what is wrong.
    """
    return sound([task.source.load(task.name, config.split_seed)], config.corrupt)[0]


def _each(message: str, name: str) -> list[str]:
    """A listing of several problems in parts; their place says already which task it is."""
    return [part for part in f"\n{message}".split(f"\ntask {name!r}: ") if part.strip()]


def _add(model: MultiTask, loaded: LoadedBackbone, task: TaskConfig, data: TaskData) -> Ready:
    preprocessing = task.preprocess(loaded)
    with torch.random.fork_rng():
        torch.manual_seed(task.train.seed)  # a task starts the same, whichever others there are
        model.add_task(
            task.name,
            len(data.labels),
            method=task.method,
            labels=data.labels,
            preprocessing=preprocessing.model_dump(mode="json"),
        )
    return Ready(task, data, preprocessing)


def _failed(config: Config, problems: list[str]) -> UserError:
    return UserError("\n".join(f"{config.path}: {problem}" for problem in problems))

"""Saved tasks, ready to use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from .. import MultiTask, Task
from ..backbones import LoadedBackbone, load
from ..data import Preprocessing
from ..tasks import read_header
from ._output import UserError

SUFFIX = ".safetensors"


def load_tasks(backbone: str, weights: Path | None, files: Sequence[Path]) -> tuple[MultiTask, LoadedBackbone]:
    """The backbone with the tasks of these files.

    Raises:
        UserError: two files hold tasks of one name.
        TaskFileError, BackboneError, FileNotFoundError: as for loading.
    """
    by_name: dict[str, Path] = {}
    for file in files:
        name = read_header(file)["task"]
        if (first := by_name.setdefault(name, file)) != file:
            raise UserError(f"{first} and {file} both hold a task {name!r}; give one of them")
    loaded = load(backbone, weights=weights)
    model = MultiTask(loaded.network, features=loaded.features, num_features=loaded.num_features).train(False)
    for file in by_name.values():
        model.load_task(file)
    return model.to(best_device()), loaded


def best_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def preprocessing_of(task: Task, loaded: LoadedBackbone) -> Preprocessing:
    """What a task was trained with; if its file does not say, what the backbone expects.

    Raises:
        UserError: neither says, or the file says something that does not exist.
    """
    if task.info.preprocessing:
        try:
            return Preprocessing.model_validate(task.info.preprocessing)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"task {task.name!r}: its preprocessing cannot be used here: {'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}; it was saved by another version of taskfold, or by hand"
            ) from None
    if loaded.preprocessing is None:
        raise UserError(f"task {task.name!r} does not say how its images are made ready, nor does {loaded.name}")
    return Preprocessing.from_config(loaded.preprocessing)


def label_of(task: Task, index: int) -> str:
    """The name of an output."""
    return task.info.labels[index] if index < len(task.info.labels) else str(index)

"""Relative paths count from the configuration's folder, wherever the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from .run import Config

M = TypeVar("M", bound=BaseModel)


def rooted(config: Config, base: Path) -> Config:
    """The configuration with its paths joined to `base`."""
    tasks = tuple(task.model_copy(update={"source": _joined(task.source, base)}) for task in config.tasks)
    return _joined(config, base).model_copy(update={"tasks": tasks, "backbone": _joined(config.backbone, base)})


def _joined(model: M, base: Path) -> M:
    found: dict[str, Path | str] = {}
    for name, value in model:
        if isinstance(value, Path):
            found[name] = base / value.expanduser()
        # A data set of Hugging Face is a name, or a folder.
        elif name == "dataset" and isinstance(value, str) and (base / value).is_dir():
            found[name] = str(base / value)
    return model.model_copy(update=found)

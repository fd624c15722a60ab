"""Relative paths start from the configuration's folder, wherever the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from ..data.sources import Folder
from ._errors import Place

if TYPE_CHECKING:
    from ._parts import Plan

P = TypeVar("P", bound="Plan")
M = TypeVar("M", bound=BaseModel)


def rooted(config: P, base: Path) -> P:
    """The configuration with its paths joined to `base`."""
    update: dict[str, Any] = {
        "tasks": tuple(task.model_copy(update={"source": _joined(task.source, base)}) for task in config.parts)
    }
    update |= {
        name: _joined(value, base) for name, value in config if name == "backbone" and isinstance(value, BaseModel)
    }
    return _joined(config, base).model_copy(update=update)


def located(function: str, base: Path) -> str:
    """`path/to/file.py:function` with its path joined to `base`; `package.module:function` unchanged."""
    place, colon, name = function.rpartition(":")
    return f"{(base / Path(place).expanduser()).resolve()}{colon}{name}" if place.endswith(".py") else function


def blocked(config: Plan) -> list[tuple[Place, str]]:
    """The problem with the folder of a run: a part of its path is a file, or it would be a class of images."""
    output = config.output
    for task in config.parts:
        if isinstance(task.source, Folder) and output.resolve().is_relative_to(root := task.source.root.resolve()):
            return [(("output",), f"is in {root}, whose folders are classes of task {task.name!r}; choose another")]
    for part in (output, *output.parents):
        if part.is_dir():
            break
        if part.exists():
            return [(("output",), f"must be a folder, and {part} is a file; choose another")]
    return []


def _joined(model: M, base: Path) -> M:
    found: dict[str, Path | str] = {}
    for name, value in model:
        if isinstance(value, Path):
            found[name] = base / value.expanduser()
        # A data set of Hugging Face is a name, or a folder.
        elif name == "dataset" and isinstance(value, str) and (base / value).is_dir():
            found[name] = str(base / value)
        elif name == "function" and isinstance(value, str):
            found[name] = located(value, base)
    return model.model_copy(update=found)

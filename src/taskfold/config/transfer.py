"""The configuration of `taskfold transfer`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from ._document import checked, document_of
from ._errors import ConfigError
from ._kinds import defaulted
from ._merge import written_out
from ._parts import Plan, TaskPart

__all__ = ["TransferConfig", "load_transfer"]


class TransferConfig(Plan):
    """New tasks from a few examples each, on the inventory of a joint training.

    Attributes:
        origin: `from`: the output folder of that training.
        mode: the trained part: `z`, the routing; `mu`, factors under a fixed routing; `all`, both.
        begin: the initial routing: the `mean` of the trained tasks', or `even`.
        shots: the number of training examples of each task, drawn by seed; None: all.
        seed: the seed of the shots.
        method: changes to the settings of the inventory's method, such as `{allocation: sigmoid}`.
        tasks: the tasks, in the order of training; none depends on another.
    """

    origin: Path = Field(alias="from")
    mode: Literal["all", "mu", "z"] = "z"
    begin: Literal["mean", "even"] = "mean"
    shots: PositiveInt | None = None
    seed: int = Field(0, ge=0)
    method: dict[str, Any] = Field({})
    tasks: tuple[TaskPart, ...] = Field(min_length=1)

    @property
    def parts(self) -> Sequence[TaskPart]:
        return self.tasks

    def method_key(self, index: int) -> str:
        return "method"


def load_transfer(path: str | Path) -> TransferConfig:
    """Read a configuration; relative paths in it start from its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: settings are wrong; the message lists all: key, value found, allowed values.
    """
    path = Path(path)
    document = document_of(path, "from, tasks and output")
    if "backbone" in document and "from" not in document:
        raise ConfigError(f"{path}: trains tasks on a network ('backbone'): use it with taskfold train {path}")
    whole = defaulted(written_out(document, ("train", "problem", "preprocessing", "text", "dense")))
    return checked(path, document, whole, TransferConfig, [])

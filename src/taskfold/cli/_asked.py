"""The arguments of `taskfold predict` after its files are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from .. import MultiTask
from ..backbones import LoadedBackbone
from ..config import words_of
from ..threads import Threads
from ._output import UserError

ROWS = 32
"""Default number of rows of a forward pass."""


@dataclass(frozen=True)
class Asked:
    """The arguments of `taskfold predict`, for one kind of data."""

    model: MultiTask
    loaded: LoadedBackbone
    names: list[str]
    inputs: list[str]
    threads: Threads
    batch_size: int | None
    lines: Path | None
    choices: str | None
    output: Path | None

    def refuse(self, kind: str, **meant: str) -> None:
        """Refuses options of other kinds of data."""
        for option, whose in meant.items():
            if getattr(self, option) is not None:
                name = option.replace("_", "-")
                raise UserError(f"--{name} is for tasks of {whose}, and these are for {words_of(kind)}; leave it out")

    def images(self) -> list[Path]:
        """The inputs; at least one is required."""
        if not self.inputs:
            raise UserError(f"give at least one image, found none beside the task files of {', '.join(self.names)}")
        return [Path(one) for one in self.inputs]


Predicted = tuple[list[dict[str, Any]], list[dict[str, str]], Callable[[Sequence[dict[str, Any]]], Table]]

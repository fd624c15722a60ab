"""The network and its tasks, for a batcher: batches and changes come one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..model import Bank, MultiTask
from ..tasks import Task

Load = Callable[[MultiTask, Path, str], Task]
"""(model, file, name) → the task, added to the model under that name."""


class Group(Protocol):
    """A key of rows that can share a forward pass; hashable."""

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Any]) -> Sequence[Any]:
        """One answer for each row, on the CPU; `keys` are the rows' tasks."""
        ...


@dataclass(frozen=True)
class Stacked:
    """Tensors of one shape and type, one for each row.

    Attributes:
        shape: a row's shape.
        dtype: a row's type.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    def run(self, network: Bank | MultiTask, keys: list[str], values: list[Tensor]) -> list[Tensor]:
        """Outputs of the rows, each in the size of its task's head."""
        like = next(network.backbone.parameters(), torch.zeros(()))
        batch = torch.stack(values).to(like.device)
        if batch.is_floating_point() and like.is_floating_point():
            batch = batch.to(like.dtype)
        return [output.float().cpu() for output in network(batch, task=keys)]


class Engine:
    """Runs rows of any tasks.

    A bank holds the tasks; or the model itself, for heads and methods that a bank cannot hold.

    Args:
        model: holds the backbone, in evaluation mode, and the inventory that tasks use.
        load: adds a task from its file.
        banked: whether a bank holds the tasks.
    """

    def __init__(
        self,
        model: MultiTask,
        load: Load = lambda model, file, name: model.load_task(file, name=name),
        *,
        banked: bool = True,
    ) -> None:
        self.model, self._load = model.eval(), load
        self.bank = Bank(model.backbone, features=model.features, rows=model.rows) if banked else None
        self._loading = threading.Lock()

    @property
    def network(self) -> Bank | MultiTask:
        """The bank or the model, which runs the rows."""
        return self.model if self.bank is None else self.bank

    def nbytes(self) -> int:
        """The bytes of all tasks."""
        if self.bank is not None:
            return self.bank.nbytes()
        return sum(self.model[name].nbytes() for name in self.model.tasks)

    def prepare(self, file: Path, key: str) -> Callable[[], Task]:
        """Read a task while batches run; returns a function that adds it, to call between batches.

        Raises:
            ValueError, TaskFileError: as for `MultiTask.load_task`.
        """
        bank = self.bank
        if bank is None:
            return lambda: self._load(self.model, file, key)
        with self._loading:
            task = self.model[key] if key in self.model.tasks else self._load(self.model, file, key)
            self._drop(key)

        def add() -> Task:
            bank.add(task, key)
            return task

        return add

    def remove(self, key: str) -> None:
        """Remove a task; call this between batches.

        Raises:
            ValueError: later tasks of a model without a bank need it.
        """
        if self.bank is None:
            self.model.remove_task(key)
            return
        if key in self.bank:
            self.bank.remove(key)
        with self._loading:
            self._drop(key)

    def _drop(self, key: str) -> None:
        """Drops the task from the model; it stays there if later tasks need its entries of a common weight."""
        if key in self.model.tasks:
            with suppress(ValueError):
                self.model.remove_task(key)

    @torch.no_grad()
    def run(self, group: Group, rows: Sequence[tuple[str, Any]]) -> Sequence[Any]:
        """Answers to rows `(key, value)`, in their order."""
        return group.run(self.network, [key for key, _ in rows], [value for _, value in rows])

"""The types of adapters by PEFT's names, one file each; a new one is a subclass, and its import in `__init__`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..layers import parts_of
from ..methods import Method
from ..tasks import Task
from ._adapter import Adapter, AdapterError

Leaves = dict[tuple[str, str, str], Tensor]
"""Numbers of a task by layer, part and leaf."""


class AdapterType(ABC):
    """One of PEFT's types: makes a method of Taskfold's, and a task's numbers, from settings and tensors."""

    name: ClassVar[str]
    several: ClassVar[bool] = False
    """Whether an adapter may hold several tasks."""
    reads: ClassVar[frozenset[str]]
    """Fields of the settings that determine the meaning of tensors."""
    idle: ClassVar[frozenset[str]]
    """Fields on initialisation and training, without effect on a finished adapter."""

    @abstractmethod
    def take(self, adapter: Adapter) -> tuple[Method, Leaves]:
        """The method, and the numbers of its parts; other tensors stay in the adapter.

        Raises:
            AdapterError: Taskfold has no equal method.
        """


@dataclass(frozen=True)
class Imported:
    """An adapter in Taskfold's form.

    Attributes:
        folder: its folder.
        method: the method of its task.
        leaves: the numbers of the task's parts.
        saved: tensors that replace the backbone's, by name.
    """

    folder: Path
    method: Method
    leaves: Leaves
    saved: dict[str, Tensor]

    @torch.no_grad()
    def fill(self, task: Task) -> None:
        """Copy the numbers into a task of the method.

        Raises:
            AdapterError: they do not fit such a task.
        """
        left: dict[object, Tensor] = {**self.leaves, **self.saved}
        for (path, name), part in parts_of(task):
            for leaf, live in part.own.held().items():
                where, kind = f"{path}.{leaf}" if path else leaf, name.partition(":")[2]
                found = left.pop(where if kind == "own" else (path, kind, leaf), None)
                if found is None or found.shape != live.shape:
                    has = "no numbers" if found is None else f"numbers of shape {list(found.shape)}"
                    raise AdapterError(f"{self.folder} has {has} for {where!r}, which wants {list(live.shape)}")
                live.copy_(found)
        if left:
            raise AdapterError(f"{self.folder} has numbers for {next(iter(left))!r}, which no part takes")


def read_adapter(folder: Path, network: nn.Module, task_id: int | None = None) -> Imported:
    """An adapter that PEFT saved.

    Args:
        folder: holds `adapter_config.json` and `adapter_model.safetensors`.
        network: the backbone.
        task_id: the index of the task, if the adapter holds several.

    Raises:
        FileNotFoundError: there is no adapter.
        AdapterError: Taskfold has no equal method; the message has the part of the adapter.
    """
    adapter = Adapter.read(folder, network, task_id)
    types: Mapping[str, type[AdapterType]] = {kind.name: kind for kind in AdapterType.__subclasses__()}
    named = adapter.config["peft_type"]
    if named not in types:
        raise adapter.error(
            f"Taskfold has no method that does what {named} does; it reads {', '.join(sorted(types))}. Merge the "
            "adapter with PEFT (merge_and_unload), or train the task here"
        )
    kind = types[named]()
    if task_id is not None and not kind.several:
        raise adapter.error(f"an adapter of type {named} is one task, found task_id={task_id}; leave task_id out")
    adapter.check_fields(kind.reads, kind.idle)
    method, leaves = kind.take(adapter)
    if saved := adapter.saved():
        method = method.with_settings(own=tuple(saved))
    return Imported(folder, method, leaves, saved)

"""A task to its file and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .layers import inventory_of
from .methods import Method, build
from .tasks import Contents, Info, Task, TaskFileError, fingerprint, read, write

_SHARED = "inventory:"


def save(task: Task, backbone: nn.Module, path: Path) -> Path:
    """Write a task with all that is needed to use it on the same backbone."""
    header = {
        "task": task.name,
        "method": task.method,
        "head": _head_spec(task.head),
        "info": task.info.as_json(),
        "backbone": {"class": type(backbone).__name__, "fingerprint": fingerprint(backbone)},
    }
    write(path, header, _state(task))
    return path


@dataclass(frozen=True)
class Stored:
    """A task file that has been read, checked and found to belong to the backbone."""

    path: Path
    contents: Contents

    @classmethod
    def read(cls, path: Path, backbone: nn.Module) -> Stored:
        contents = read(path)
        theirs, mine = contents.header["backbone"], fingerprint(backbone)
        if theirs["fingerprint"] != mine:
            raise TaskFileError(
                f"{path} belongs to another backbone ({theirs['class']}, fingerprint {theirs['fingerprint'][:12]}…; "
                f"this one is {type(backbone).__name__}, {mine[:12]}…); load the backbone it was trained on"
            )
        return cls(path, contents)

    @property
    def name(self) -> str:
        return self.contents.header["task"]

    def method(self) -> Method:
        made = self.contents.header["method"]
        return build(made["name"], made["settings"])

    def head(self, given: nn.Module | None) -> int | nn.Module | None:
        spec = self.contents.header["head"]
        if spec is None or spec["kind"] == "linear":
            return spec and spec["outputs"]
        if given is None:
            raise ValueError(
                f"{self.path} has a head of the user's own; give the module to load it into: load_task(…, head=…)"
            )
        return given

    def fill(self, task: Task, known: set[str]) -> None:
        """The stored numbers into a task of the same method; shared factors that the model knew must be equal."""
        tensors, wanted = self.contents.tensors, _state(task)
        for key in sorted(wanted.keys() ^ tensors.keys()):
            where = "lacks" if key in wanted else "has an unknown"
            raise TaskFileError(f"{self.path} {where} tensor {key!r}; it does not fit its own method or the given head")
        for key, tensor in tensors.items():
            if tensor.shape != wanted[key].shape:
                raise TaskFileError(
                    f"{self.path}: {key!r} has shape {list(tensor.shape)}, "
                    f"this backbone and head need {list(wanted[key].shape)}"
                )
            standing = key.startswith(_SHARED) and key.removeprefix(_SHARED).rpartition(":")[0] in known
            if standing and not torch.equal(wanted[key].cpu(), tensor):
                raise TaskFileError(
                    f"{self.path} stands on other shared factors than this model's ({key!r} differs); "
                    "load it into a model of its own"
                )
        for key, tensor in tensors.items():
            wanted[key].copy_(tensor)
        info = self.contents.header["info"]
        task.info = Info(tuple(info["labels"]), info["preprocessing"], info["metrics"])


def _state(task: Task) -> dict[str, Tensor]:
    """Everything a task computes with, by name: its own tensors, and the shared ones it stands on."""
    shared = inventory_of(task)
    return {**task.state_dict(), **{f"{_SHARED}{key}": leaf.detach() for key, leaf in shared.items()}}


def _head_spec(head: nn.Module | None) -> dict[str, Any] | None:
    if head is None:
        return None
    if type(head) is nn.Linear and head.bias is not None:
        return {"kind": "linear", "outputs": head.out_features}
    return {"kind": "module"}

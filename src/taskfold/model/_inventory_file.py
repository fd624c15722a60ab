"""Saves inventories to files and loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..factors import Group
from ..tasks import Contents, Leaves, Named, TaskFileError, identity, read, write
from ._file_checks import check_backbone, check_precision, not_finite, same


def save_inventory(inventory: Named[Leaves], backbone: nn.Module, path: Path) -> Path:
    tensors: dict[str, Tensor] = {
        f"{key}:{name}": leaf.detach() for key in inventory for name, leaf in inventory[key].items()
    }
    if not tensors:
        raise ValueError("the model shares nothing between tasks; an inventory comes with a shared or routed method")
    groups = {
        f"{key}:{name}": {"name": group.name, "lr": group.lr}
        for key in inventory
        for name, group in inventory[key].groups.items()
    }
    write(path, {"kind": "inventory", "backbone": identity(backbone), "groups": groups}, tensors)
    return path


@torch.inference_mode(False)
def read_inventory(path: Path, backbone: nn.Module, held: Named[Leaves]) -> dict[str, Leaves]:
    """The banks in an inventory file that the model does not hold yet.

    Raises:
        FileNotFoundError: there is no such file.
        TaskFileError: the file can't be used here; gives the reason.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no inventory file {str(path)!r}" + (": it is a folder" * path.is_dir()))
    contents = read(path, "inventory")
    check_backbone(path, contents, backbone)
    _check(path, contents)
    like = next(backbone.parameters())
    tensors: dict[str, dict[str, nn.Parameter]] = {}
    groups: dict[str, Any] = contents.header["groups"]
    for key, tensor in contents.tensors.items():
        bank, _, name = key.rpartition(":")
        # A copy: what a file gives is not aligned, and some kernels then round otherwise.
        leaf = nn.Parameter(tensor.clone().to(like.device), requires_grad=False)
        tensors.setdefault(bank, {})[name] = leaf
    banks: dict[str, Leaves] = {}
    for key, mine in tensors.items():
        if key not in held:
            banks[key] = Leaves(mine, {name: Group(**groups[f"{key}:{name}"]) for name in mine})
        elif set(held[key]) != set(mine) or not all(same(held[key][n], one.detach().cpu()) for n, one in mine.items()):
            raise TaskFileError(
                f"{path} holds another inventory than this model ({key!r} differs); use a model of its own"
            )
    return banks


def _check(path: Path, contents: Contents) -> None:
    """Checks that each tensor has its group, at least single precision, and finite numbers."""
    for name in sorted(contents.tensors.keys() ^ contents.header["groups"].keys()):
        lacks = "no group" if name in contents.tensors else "a group, and is not there"
        raise TaskFileError(f"{path} is damaged: its tensor {name!r} has {lacks}; save the inventory again")
    check_precision(path, contents.tensors)
    if wrong := not_finite(contents.tensors):
        raise TaskFileError(f"{path}: {wrong}; train its tasks again")

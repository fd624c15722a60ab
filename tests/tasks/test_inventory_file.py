"""Inventory files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold import MultiTask, TaskFileError

from .test_file import network


def shared(method: tfold.Method, *tasks: str) -> MultiTask:
    model = MultiTask(network(), method, num_features=8).eval()
    for name in tasks:
        model.add_task(name, head=2)
    with torch.no_grad():
        for number in [*model.inventory.parameters(), *model.tasks.parameters()]:
            number.normal_()
    return model


SHARED = {"shared": tfold.FTN(rank=2, sharing="shared"), "routed": tfold.FTN(rank=2, sharing="tensorpoly-i")}
every_shared = pytest.mark.parametrize("method", SHARED.values(), ids=SHARED)
X = torch.randn(2, 3, 8, 8)


@every_shared
def test_a_standalone_file_holds_the_inventory(method: tfold.Method, tmp_path: Path) -> None:
    model = shared(method, "a", "b")
    path = model.save_task("a", tmp_path / "a.safetensors", standalone=True)
    other = MultiTask(network(), num_features=8).eval()
    other.load_task(path)
    other.load_task(path, name="twice")
    assert torch.equal(other(X, task="a"), model(X, task="a"))
    strange = shared(method, "own")
    with pytest.raises(TaskFileError, match="stands on other shared factors"):
        strange.load_task(path)
    assert list(strange.tasks) == ["own"]
    with pytest.raises(ValueError, match="share its sizes"):
        model.add_task("c", rank=3)


@every_shared
def test_a_file_names_the_inventory_it_stands_on(method: tfold.Method, tmp_path: Path) -> None:
    model = shared(method, "a", "b")
    inventory = model.save_inventory(tmp_path / "inventory.safetensors")
    files = [model.save_task(name, tmp_path / f"{name}.safetensors") for name in ("a", "b")]
    other = MultiTask(network(), num_features=8).eval()
    with pytest.raises(TaskFileError, match="does not hold; load its file first"):
        other.load_task(files[0])
    assert not len(other.inventory) and not len(other.tasks)
    other.load_inventory(inventory)
    other.load_inventory(inventory)  # the same again: nothing to do
    for file in files:
        task = other.load_task(file)
        assert torch.equal(other(X, task=task.name), model(X, task=task.name))
    strange = shared(method, "own")
    with pytest.raises(TaskFileError, match="stands on another inventory"):
        strange.load_task(files[0])
    with pytest.raises(TaskFileError, match="holds another inventory than this model"):
        strange.load_inventory(inventory)
    assert list(strange.tasks) == ["own"]


def test_kinds_of_files_are_told_apart(tmp_path: Path) -> None:
    model = shared(SHARED["routed"], "a")
    inventory = model.save_inventory(tmp_path / "inventory.safetensors")
    task = model.save_task("a", tmp_path / "a.safetensors")
    with pytest.raises(TaskFileError, match=r"holds an inventory, not a task; load it with model\.load_inventory"):
        model.load_task(inventory)
    with pytest.raises(TaskFileError, match=r"holds a task, not an inventory; load it with model\.load_task"):
        model.load_inventory(task)
    inventory.write_bytes(inventory.read_bytes()[:-1] + b"?")
    with pytest.raises(TaskFileError, match="damaged"):
        model.load_inventory(inventory)
    other = MultiTask(nn.Sequential(nn.Conv2d(3, 8, 3)), num_features=8)
    with pytest.raises(TaskFileError, match="belongs to another backbone"):
        other.load_inventory(model.save_inventory(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match="shares nothing between tasks"):
        MultiTask(network(), tfold.FTN()).save_inventory(tmp_path / "none.safetensors")


POLY = tfold.Poly(rank=2, skills=3)
ROWS = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 4))


def team(method: tfold.Method = POLY) -> MultiTask:
    """Two tasks, all numbers random."""
    made = MultiTask(plain(), method, num_features=4).eval()
    made.add_task("a", head=3)
    made.add_task("b")
    for number in [*made.tasks.parameters(), *made.inventory.parameters()]:
        nn.init.normal_(number, std=0.5)
    return made


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "method", [POLY, tfold.TensorPolyII(rank=2, tensor_rank=3, granularity="model"), tfold.LoRA(rank=2, norm=True)]
)
def test_half_precision_comes_back_as_it_was(method: tfold.Method, dtype: torch.dtype, tmp_path: Path) -> None:
    made = team(method)
    if len(made.inventory):
        made.transfer_task("new", mode="all", head=2)
    made.to(dtype)
    names, x = list(made.tasks), ROWS.to(dtype)
    outputs = {name: made(x, task=name) for name in names}
    files = {name: made.save_task(name, tmp_path / name) for name in names}
    whole = {name: made.save_task(name, tmp_path / f"{name}.whole", standalone=True) for name in names}
    inventory = made.save_inventory(tmp_path / "inventory") if len(made.inventory) else None
    for first in ("inventory", "whole"):
        other = MultiTask(plain().to(dtype), num_features=4).eval()
        if first == "inventory" and inventory is not None:
            other.load_inventory(inventory)
        for name in names:
            if first == "whole":
                other.load_task(whole[name], name=f"{name}-whole")
                assert torch.equal(other(x, task=f"{name}-whole"), outputs[name])
            other.load_task(files[name])
            assert torch.equal(other(x, task=name), outputs[name])
            assert other.save_task(name, tmp_path / "again").read_bytes() == files[name].read_bytes()


@pytest.mark.parametrize("standalone", [False, True])
def test_an_inventory_of_another_size_is_named_as_such(standalone: bool, tmp_path: Path) -> None:
    file = team().save_task("a", tmp_path / "a.safetensors", standalone=standalone)
    other = MultiTask(plain(), num_features=4)
    other.load_inventory(team(tfold.Poly(rank=3, skills=2)).save_inventory(tmp_path / "inventory"))
    held = len(other.inventory)
    with pytest.raises(TaskFileError, match=r"a\.safetensors stands on another inventory \(fingerprint .* its own"):
        other.load_task(file)
    assert (list(other.tasks), len(other.inventory)) == ([], held)


def test_a_missing_inventory_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no inventory file '.*nope'"):
        MultiTask(plain()).load_inventory(tmp_path / "nope")

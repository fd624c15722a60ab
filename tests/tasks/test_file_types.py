"""Task files in other types of numbers than they were trained in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold import MultiTask, TaskFileError

TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def normalised(*types: torch.dtype) -> nn.Module:
    """A network that has been cast, to one type after another."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 4, bias=False), nn.LayerNorm(4))
    for dtype in types:
        made = made.to(dtype)
    return made


def stored(path: Path, *types: torch.dtype) -> tuple[MultiTask, Path]:
    model = MultiTask(normalised(*types), tfold.LoRA(rank=2, norm=True), num_features=4).eval()
    with torch.no_grad():
        for number in model.add_task("a", head=3).parameters():
            number += 0.1 * torch.randn_like(number)
    return model, model.save_task("a", path / "a.safetensors")


@pytest.mark.parametrize("serves", TYPES, ids=str)
@pytest.mark.parametrize("trained", TYPES, ids=str)
def test_a_task_is_served_in_another_type(trained: torch.dtype, serves: torch.dtype, tmp_path: Path) -> None:
    model, path = stored(tmp_path, trained)
    x = torch.randn(5, 8)
    other = MultiTask(normalised(trained, serves), num_features=4).eval()
    other.load_task(path)
    found = other(x.to(serves), task="a")
    assert found.dtype == serves
    assert all(p.element_size() >= 4 for p in other["a"].parameters())
    for same in (other.fold("a")(x.to(serves)), torch.stack([*other.bank()(x.to(serves), task=["a"] * 5)])):
        torch.testing.assert_close(same, found, rtol=0.05, atol=0.05)
    torch.testing.assert_close(found.double(), model(x.to(trained), task="a").double(), rtol=0.05, atol=0.05)
    if {trained, serves} != {torch.bfloat16, torch.float16}:  # rounded from one to the other it is a third
        MultiTask(normalised(serves), num_features=4).load_task(path)


def test_some_layers_in_another_type(tmp_path: Path) -> None:
    _, path = stored(tmp_path, torch.float32)
    network = normalised(torch.float32)
    network[0].bfloat16()  # type: ignore[index,operator]
    MultiTask(network, num_features=4).load_task(path)


@pytest.mark.parametrize("serves", TYPES, ids=str)
def test_another_network_in_another_type_is_refused(serves: torch.dtype, tmp_path: Path) -> None:
    _, path = stored(tmp_path, torch.float32)
    network = normalised(serves)
    with torch.no_grad():
        network[1].running_mean[2] += 0.02  # type: ignore[index,union-attr,operator]
    with pytest.raises(
        TaskFileError, match=r"belongs to another backbone: .* Sequential in float32, fingerprint .*in "
    ):
        MultiTask(network, num_features=4).load_task(path)


def test_a_fingerprint_is_of_values() -> None:
    half = normalised(torch.bfloat16)
    assert tfold.fingerprint(half) == tfold.fingerprint(normalised(torch.bfloat16, torch.float64))
    assert tfold.fingerprint(half) != tfold.fingerprint(normalised(torch.float32))

"""Tasks of low rank on a common basis, with a small matrix each."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest
import torch
from torch import nn

import taskfold as tfold
from taskfold.model._compressed import basis
from taskfold.model._folding import changed_tensors

CONVOLUTIONS = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
)  # fmt: skip
METHODS = {
    "lora": tfold.LoRA(rank=2, layers="all", norm=True),
    "ftn": tfold.FTN(rank=2),
    "poly": tfold.Poly(rank=2, skills=3, layers="all"),
}
x = torch.randn(5, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def stirred(method: tfold.Method, names: str = "abc") -> tfold.MultiTask:
    torch.manual_seed(1)
    model = tfold.MultiTask(CONVOLUTIONS, method, num_features=10).eval()
    for n, name in enumerate(names):
        for parameter in model.add_task(name, head=2 + n, labels=[*"xyzvw"[: 2 + n]]).parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def error_of(model: tfold.MultiTask, small: tfold.MultiTask, name: str) -> float:
    """Of the dense updates of layers."""
    state = model.backbone.state_dict()
    dense, other = (changed_tensors(model.backbone, one[name]) for one in (model, small))
    keys = [key for key in dense if state[key].dim() > 1]
    lost = sum(float((dense[key] - other.get(key, state[key])).square().sum()) for key in keys)
    return sqrt(lost / sum(float((dense[key] - state[key]).square().sum()) for key in keys))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_with_enough_rank_nothing_changes(method: tfold.Method, tmp_path: Path) -> None:
    model = stirred(method)
    before = {name: model(x, task=name) for name in model.tasks}
    apart = [(before[name][:, :2] - before["a"]).abs().max() for name in "bc"]
    assert min(apart) > 1e-3  # a hundred tolerances
    small, errors = model.compress_tasks(rank=100)
    bank = small.bank()
    for name, wanted in before.items():
        torch.testing.assert_close(small(x, task=name), wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.stack([*bank(x, task=[name] * len(x))]), wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(small.fold(name)(x), wanted, atol=1e-5, rtol=1e-5)
        assert torch.equal(model(x, task=name), wanted)
        assert (small[name].info.labels, errors[name] < 1e-6) == (model[name].info.labels, True)
    mixed = small(x, task=list("abcab"))
    for row, name in enumerate("abcab"):
        torch.testing.assert_close(mixed[row], before[name][row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [(8, 2), (2, 8)])
def test_updates_may_have_more_rank_than_a_side_of_the_layer(sizes: tuple[int, int]) -> None:
    torch.manual_seed(1)
    model = tfold.MultiTask(nn.Sequential(nn.Linear(*sizes)), tfold.LoRA(rank=2, init="normal")).eval()
    for name in "abc":
        model.add_task(name)
    small, errors = model.compress_tasks(rank=6)
    y = torch.randn(3, sizes[0])
    for name in "abc":
        torch.testing.assert_close(small(y, task=name), model(y, task=name), atol=1e-5, rtol=1e-5)
        assert errors[name] < 1e-6


def test_what_is_compressed_compresses_again() -> None:
    torch.manual_seed(1)
    model = tfold.MultiTask(nn.Sequential(nn.Linear(8, 4)), tfold.LoRA(rank=2, init="normal")).eval()
    model.add_task("thin")
    for parameter in model.add_task("whole", method=tfold.FineTuning()).parameters():
        parameter.data += 0.1
    small, _ = model.compress_tasks(rank=4)
    again, _ = small.compress_tasks(rank=4)
    y = torch.randn(3, 8)
    for name in model.tasks:
        torch.testing.assert_close(again(y, task=name), model(y, task=name), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_error_is_that_of_the_dense_updates(rank: int) -> None:
    model = stirred(METHODS["lora"])
    small, errors = model.compress_tasks(rank=rank)
    for name in model.tasks:
        assert errors[name] == pytest.approx(error_of(model, small, name), rel=1e-4)
        assert 0.05 < errors[name] < 1
    assert small["a"].counts()["core"] == 2 * rank**2


def test_more_rank_loses_less() -> None:
    model = stirred(METHODS["ftn"], "abcd")
    means = [sum(model.compress_tasks(rank=rank)[1].values()) for rank in (1, 2, 4, 8)]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 1e-5 < means[-2]


def test_the_basis_keeps_what_the_best_one_keeps() -> None:
    """Of one update it is the truncated SVD; of updates with a common basis nothing is lost."""
    torch.manual_seed(0)
    left, right = torch.randn(9, 4).double(), torch.randn(4, 7).double()
    up, down = basis([(left, right)], 2)
    kept = up @ (up.T @ left @ right @ down.T) @ down
    u, s, v = torch.linalg.svd(left @ right, full_matrices=False)
    torch.testing.assert_close(kept, u[:, :2] * s[:2] @ v[:2])
    shared = [(left[:, :3] @ torch.randn(3, 3).double(), right[:3]) for _ in range(20)]
    up, down = basis(shared, 3)
    for one, two in shared:
        torch.testing.assert_close(up @ (up.T @ one @ two @ down.T) @ down, one @ two)


def test_it_is_saved_with_its_inventory(tmp_path: Path) -> None:
    small, _ = stirred(METHODS["lora"]).compress_tasks(["a", "c"], rank=2)
    small.save_inventory(tmp_path / "inventory.safetensors")
    small.save_task("c", tmp_path / "c.safetensors")
    fresh = tfold.MultiTask(CONVOLUTIONS, num_features=10).eval()
    fresh.load_inventory(tmp_path / "inventory.safetensors")
    fresh.load_task(tmp_path / "c.safetensors")
    assert torch.equal(fresh(x, task="c"), small(x, task="c"))


def test_what_cannot_be_compressed_is_named() -> None:
    model = stirred(METHODS["lora"], "ab")
    for rank in (0, -1, True, 1.5, "4"):
        with pytest.raises(ValueError, match="rank must be a whole number ≥ 1, found"):
            model.compress_tasks(rank=rank)  # type: ignore[arg-type]
    for tasks in ([], "ab"):
        with pytest.raises(ValueError, match="tasks must be names"):
            model.compress_tasks(tasks, rank=1)
    with pytest.raises(ValueError, match="'nobody' is not known"):
        model.compress_tasks(["nobody"], rank=1)
    model.add_task("heads", head=2, method=tfold.HeadOnly())
    with pytest.raises(ValueError, match="tasks heads change no layer"):
        model.compress_tasks(["heads"], rank=1)
    model.add_task("gates", head=2, method=tfold.SSF())
    with pytest.raises(ValueError, match=r"task 'gates', layer '0': .*the task changes 0.bias, 0.weight"):
        model.compress_tasks(rank=1)


def test_updates_of_full_rank_are_approximated() -> None:
    """DoRA, and FTN on a layer in groups, stand nowhere beside the layer: their weights are decomposed."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    images = torch.randn(3, 3, 6, 6)
    for method in (tfold.FTN(rank=2, norm=False), tfold.DoRA(rank=2, layers="convolution")):
        torch.manual_seed(0)
        model = tfold.MultiTask(network, method, num_features=8).eval()
        for name in "ab":
            for parameter in model.add_task(name).parameters():
                parameter.data += 0.3 * torch.randn_like(parameter)
        small, errors = model.compress_tasks(["a"], rank=8)
        torch.testing.assert_close(small(images, task="a"), model(images, task="a"), atol=1e-5, rtol=1e-4)
        assert errors["a"] < 1e-5
        small, errors = model.compress_tasks(rank=2)
        assert errors["b"] == pytest.approx(error_of(model, small, "b"), rel=1e-3)
        assert errors["b"] > 0.01


def test_a_task_that_leaves_a_layer_alone(tmp_path: Path) -> None:
    model = stirred(METHODS["lora"], "ab")
    model.add_task("head", head=2, method=tfold.HeadOnly())
    small, errors = model.compress_tasks(rank=8)
    assert errors["head"] == 0
    torch.testing.assert_close(small(x, task="head"), model(x, task="head"))

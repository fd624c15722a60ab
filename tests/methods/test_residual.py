"""Residual adapters and reparameterised convolutions, on layers small enough to write the formulas out."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask
from taskfold.factors import Centre, Modes
from taskfold.layers import parts_of
from taskfold.methods import Method
from taskfold.tasks import Task

METHODS = [tfold.ParallelAdapter(norm=False), tfold.SeriesAdapter(norm=False), tfold.RCM(norm=False, nff=True)]


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=2, dilation=2, bias=False)
        self.conv2 = nn.Conv2d(4, 4, (1, 5), padding=(0, 2))
        self.downsample = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x).relu()) + self.downsample(x)


def leaves(task: Task) -> dict[str, dict[str, Tensor]]:
    return {path: dict(part.own.items()) for (path, _), part in parts_of(task)}


def by_hand(block: Block, method: Method, own: dict[str, dict[str, Tensor]], x: Tensor, training: bool) -> Tensor:
    """The papers' formulas."""

    def layer(conv: nn.Conv2d, mine: dict[str, Tensor], x: Tensor) -> Tensor:
        y = conv(x)
        if isinstance(method, tfold.ParallelAdapter):
            return y + F.conv2d(x, mine["point"][:, :, None, None], None, conv.stride)
        mix = mine["mix"]
        if isinstance(method, tfold.RCM):
            return F.conv2d(y, F.normalize(mix, dim=1)[:, :, None, None] * mine["gain"][:, None, None, None])
        mean, var = mine["mean"].clone(), mine["var"].clone()
        seen = F.batch_norm(y, mean, var, mine["gamma"], mine["beta"], training)
        return y + F.conv2d(seen, mix[:, :, None, None])

    y = layer(block.conv2, own["conv2"], layer(block.conv1, own["conv1"], x).relu())
    return y + F.conv2d(x, own["downsample.0"]["weight"], None, 2)


def stirred(method: Method) -> tuple[Block, MultiTask, Task]:
    torch.manual_seed(0)
    block = Block().double()
    model = MultiTask(block, method)
    task = model.add_task("a").double()
    with torch.no_grad():
        for name, tensor in [*task.named_parameters(), *task.named_buffers()]:
            tensor.add_(torch.rand_like(tensor) if name.endswith("var") else torch.randn_like(tensor))
    return block, model, task


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_it_is_the_papers_formula_in_value_and_gradient(method: Method, training: bool) -> None:
    block, model, task = stirred(method)
    x = torch.randn(3, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    wanted = by_hand(block, method, leaves(task), x, training)
    wanted_gradients = torch.autograd.grad(wanted.square().sum(), [x, *task.parameters()])
    found = model.train(training)(x, task="a")
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), [x, *task.parameters()]), wanted_gradients)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_shortcuts_are_copies_or_adapted_like_all_others(method: Method) -> None:
    block = Block()
    copied = leaves(MultiTask(block).add_task("a", method=method))
    assert copied["downsample.0"].keys() == {"weight"}
    assert torch.equal(copied["downsample.0"]["weight"], block.downsample.get_parameter("0.weight"))
    adapted = leaves(MultiTask(block).add_task("a", method=method.with_settings(shortcuts="adapted")))
    assert adapted["downsample.0"].keys() == adapted["conv1"].keys()
    with pytest.raises(ValueError, match="shortcuts='left' is not known"):
        method.with_settings(shortcuts="left")
    # A network without shortcuts has no copies.
    assert leaves(MultiTask(nn.Sequential(nn.Conv2d(2, 2, 1))).add_task("a", method=method)).keys() == {"0"}


def test_a_series_adapter_keeps_the_moving_average_of_its_batches() -> None:
    block, model, task = stirred(tfold.SeriesAdapter(norm=False))
    held, x = leaves(task)["conv1"], torch.randn(5, 3, 8, 8, dtype=torch.float64)
    mean, var = held["mean"].clone(), held["var"].clone()
    model.train()(x, task="a")
    norm = nn.BatchNorm2d(4, dtype=torch.float64)
    norm.running_mean, norm.running_var = mean, var
    norm(block.conv1(x))
    torch.testing.assert_close((held["mean"], held["var"]), (norm.running_mean, norm.running_var))
    before = copy.deepcopy(held)
    model.eval()(x, task="a")
    assert all(torch.equal(held[name], before[name]) for name in held)
    with pytest.raises(ValueError, match=r"layer 'conv1': BatchNorm of a task's own trains on two or more values"):
        model.train()(torch.randn(1, 3, 1, 1, dtype=torch.float64), task="a")


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 2, 3),
        nn.Conv2d(2, 2, 2, padding=1, dilation=2),
        nn.Conv2d(2, 2, (3, 5), padding=1),
        nn.ConvTranspose2d(2, 2, 3, padding=1),
    ],
    ids=["padding", "even", "one-axis", "transposed"],
)
def test_a_1x1_convolution_that_is_no_centre_is_refused_by_name(conv: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"layer '0' \(Conv.*padding is dilation · \(k − 1\) / 2, found kernel_size"):
        MultiTask(nn.Sequential(conv)).add_task("a", method=tfold.ParallelAdapter())
    model = MultiTask(nn.Sequential(nn.Conv2d(2, 2, 3, padding="same"), conv))
    assert leaves(model.add_task("a", method=tfold.ParallelAdapter(targets="!1", norm=False))).keys() == {"0"}


def test_the_authors_starts() -> None:
    net = nn.Sequential(nn.Conv2d(3, 800, 1, bias=False))
    for method in (tfold.ParallelAdapter(init="authors", norm=False), tfold.SeriesAdapter(init="authors", norm=False)):
        held = leaves(MultiTask(net).add_task("a", method=method))["0"]
        point = held["point"] if "point" in held else held["mix"]
        assert point.std().item() == pytest.approx((2 / 800) ** 0.5, rel=0.1)
        with pytest.raises(ValueError, match="init='he' is not known; choose one of zero, authors"):
            method.with_settings(init="he")


def test_a_centre_of_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="a kernel of 3 × 2 has no centre"):
        Centre().leaves(Modes((2,), (2,), (3, 2)))

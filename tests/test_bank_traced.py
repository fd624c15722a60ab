"""A bank in a compiler and an exporter, and its cost."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import taskfold as tfold

from .test_bank import agree, built


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Callable[..., object], types: object, args: tuple = (), kwargs=None) -> object:  # type: ignore[no-untyped-def,override]
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_nothing_loops_over_tasks() -> None:
    """As many operators for 40 tasks as for one."""
    counts = []
    for tasks in (1, 40):
        bank = built(tasks, tfold.FTN(rank=2)).bank()
        x, index = torch.randn(40, 3, 8, 8), bank.index([f"t{n % tasks}" for n in range(40)])
        with torch.no_grad(), Operators() as seen:
            bank(x, index)
        counts.append(seen.count)
    assert counts[0] == counts[1]


def test_no_more_than_the_sum_of_its_tasks() -> None:
    model = built(300, tfold.FTN(rank=2), head=False)
    numbers = sum(p.numel() for p in model.tasks.parameters())
    numbers += sum(b.numel() for b in model.tasks.buffers() if b.is_floating_point())
    # The depthwise layer's update is held as its weight.
    numbers += 300 * (6 * 9 - 2 * (6 + 1 + 9))
    assert model.bank().nbytes() <= 1.1 * 4 * numbers


class Centred(nn.BatchNorm2d):
    """A BatchNorm that multiplies by 1 + γ, so that its statistics cannot go into γ."""

    def forward(self, input: Tensor) -> Tensor:
        normed = nn.functional.batch_norm(input, self.running_mean, self.running_var, None, None, False, 0, self.eps)
        return normed * (1 + self.weight[:, None, None]) + self.bias[:, None, None]


class Activated(nn.BatchNorm2d):
    """With its activation, as in many networks of timm."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


@pytest.mark.parametrize(
    ("norm", "held"),
    [
        (nn.BatchNorm2d(4), 8),
        (Activated(4), 8),
        (Centred(4), 16),
        (nn.BatchNorm2d(4, affine=False), 8),
    ],
    ids=["torch", "with activation", "1 + weight", "no weight"],
)
def test_statistics_are_held_in_the_weight_where_that_says_the_same(norm: nn.Module, held: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), copy.deepcopy(norm), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = tfold.MultiTask(net, tfold.HeadNorm(statistics="own"), num_features=4)
    for n in range(3):
        task = model.add_task(f"t{n}", head=2)
        for tensor in [*task.parameters(), *(b for b in task.buffers() if b.is_floating_point())]:
            tensor.data.add_(3 * torch.rand_like(tensor))  # far from mean 0 and variance 1
    bank = model.eval().bank()
    assert bank.table.numbers.shape[1] == held
    agree(bank, model, ["t2", "t0", "t1", "t0"])


def test_one_graph_for_every_mixture_and_every_number_of_tasks() -> None:
    model = built(5)
    bank, graphs = model.bank(["t0", "t1", "t2"]), []

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(bank, fullgraph=True, backend=count)
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        for names in (["t0", "t1", "t2", "t0"], ["t2"] * 4, ["t1", "t1", "t0", "t0"]):
            torch.testing.assert_close(compiled(x, bank.index(names)), bank(x, bank.index(names)))
    assert len(graphs) == 1


@pytest.mark.parametrize("stages", [0, 2])
def test_several_tasks_on_every_row_compile_as_one_graph(stages: int) -> None:
    bank = built(3, tfold.FTN(rank=2, stem=not stages, frozen_stages=stages)).bank()
    x, index = torch.randn(3, 3, 8, 8), bank.index(["t2", "t0"])
    torch.compiler.reset()
    compiled = torch.compile(bank, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, index, broadcast=True), bank(x, index, broadcast=True))


def test_exports_with_the_index_as_an_input() -> None:
    bank = built().bank()
    x, batch = torch.randn(3, 3, 8, 8), torch.export.Dim("batch", min=2, max=64)
    index, shapes = bank.index(["t0", "t2", "t1"]), {"args": ({0: batch}, {0: batch})}
    with pytest.raises(ValueError, match="run the examples once before they are exp"):
        torch.export.export(bank, (x, index), dynamic_shapes=shapes)
    with torch.no_grad():
        bank(x, index)
        exported = torch.export.export(bank, (x, index), dynamic_shapes=shapes)
        for names in (["t1", "t1"], ["t2", "t0", "t1", "t1", "t0"]):
            x, index = torch.randn(len(names), 3, 8, 8), bank.index(names)
            torch.testing.assert_close(exported.module()(x, index), bank(x, index))


def test_whole_weights_of_linear_layers_are_exported() -> None:
    """The tensors that stand for the backbone's while it is traced are no packed ones."""
    model = tfold.MultiTask(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5)), num_features=5).eval()
    for name in ("t0", "t1"):
        for tensor in model.add_task(name, head=2, method=tfold.FineTuning()).parameters():
            tensor.data.add_(0.2 * torch.rand_like(tensor))
    bank = model.bank()
    x, index, batch = torch.randn(3, 4), bank.index(["t1", "t0", "t1"]), torch.export.Dim("batch", min=2, max=64)
    bank(x, index)
    exported = torch.export.export(bank, (x, index), dynamic_shapes={"args": ({0: batch}, {0: batch})})
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x, index), bank(x, index))


def test_what_a_bank_refuses() -> None:
    model = built()
    bank = model.bank()
    with pytest.raises(ValueError, match="'t0' is in the bank already"):
        bank.add(model["t0"])
    with pytest.raises(ValueError, match=r"task 't00' is not in the bank, which has 3; did you mean 't0'\?"):
        bank.index(["t00"])
    with pytest.raises(ValueError, match="not in the bank"):
        bank.remove("x")
    with pytest.raises(RuntimeError, match="serves and does not train"):
        bank.train()
    with pytest.raises(
        TypeError, match=r"index must be a tensor \[B\] of torch.int64 as bank.index\(names\) gives, found \['t0'\]"
    ):
        bank(torch.randn(1, 3, 8, 8), index=["t0"])
    before = {name: tensor.clone() for name, tensor in bank.named_buffers()}
    for head, text in (
        (nn.Sequential(nn.Linear(6, 2)), "a head of Sequential"),
        (nn.Linear(5, 2), "5 features, not 6"),
        (None, "all tasks of a bank"),
    ):
        model.add_task("odd", head=head)
        with pytest.raises(ValueError, match=text):
            bank.add(model["odd"])
        model.remove_task("odd")
    model.add_task("wide", head=2, method=tfold.LoRA(rank=1, layers="convolution"))
    with pytest.raises(ValueError, match="give tasks of this method a bank of their own"):
        bank.add(model["wide"])
    assert all(torch.equal(before[name], tensor) for name, tensor in bank.named_buffers())
    assert len(bank) == 3

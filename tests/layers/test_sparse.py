"""Sparse updates on layers of every kind: the formula, mixed rows, folds, and banks that hold values and places."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import taskfold as tfold
from taskfold import MultiTask
from taskfold.layers import parts_of

from .cases import CASES, Case

NAMES = (
    "conv-groups",
    "conv-depthwise",
    "timm-standardised",
    "linear-windows",
    "transposed-groups-2d",
    "gpt2-attention",
    "embedding-padding",
    "gru",
    "torch-attention",
)


def own(model: MultiTask, name: str) -> dict[str, Tensor]:
    return next(part.own for _, part in parts_of(model[name])).held()


def stir(model: MultiTask, name: str, seed: int) -> None:
    """Other places, more of them at the end or at the beginning, and values."""
    leaves, dice = own(model, name), torch.Generator().manual_seed(seed)
    numbers = sum(p.numel() for p in model.backbone.parameters())
    weights = torch.arange(1.0, numbers + 1) if seed % 2 else torch.arange(numbers, 0.0, -1)
    with torch.no_grad():
        leaves["places"].copy_(weights.multinomial(len(leaves["places"]), generator=dice).sort().values)
        leaves["values"].copy_(torch.randn(len(leaves["values"]), generator=dice))


def dense(model: MultiTask, name: str) -> dict[str, Tensor]:
    """The network's parameters with the values at their places."""
    named, leaves = dict(model.backbone.named_parameters()), own(model, name)
    every = torch.cat([p.flatten() for p in named.values()])
    moved = every.index_add(0, leaves["places"], leaves["values"]).split([p.numel() for p in named.values()])
    return {key: part.reshape(named[key].shape) for key, part in zip(named, moved, strict=True)}


@pytest.mark.parametrize("case", [case for case in CASES if case.name in NAMES], ids=lambda case: case.name)
def test_it_is_the_formula_mixed_folded_and_in_a_bank(case: Case) -> None:
    torch.manual_seed(0)
    model = MultiTask(nn.Sequential(case.build()).double(), tfold.FishMask(0.2)).eval()
    for n, name in enumerate("ab"):
        model.add_task(name).double()
        stir(model, name, n)
    x = torch.randn(3, *case.shape, dtype=torch.float64)
    found, wanted = model(x, task="a"), functional_call(model.backbone, dense(model, "a"), (x,))
    torch.testing.assert_close(found, wanted)
    values, toward = own(model, "a")["values"], torch.randn_like(found)
    mine, theirs = (torch.autograd.grad((y * toward).sum(), values)[0] for y in (found, wanted))
    torch.testing.assert_close(mine, theirs)
    assert mine.any()
    with torch.no_grad():
        other = functional_call(model.backbone, dense(model, "b"), (x,))
        assert not torch.allclose(wanted, other)
        alone = torch.stack([other[0], wanted[1], other[2]])
        for asked in (model, model.bank()):
            torch.testing.assert_close(asked(x, task=["b", "a", "b"]), alone)
        torch.testing.assert_close(model.fold("b")(x), other)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_a_bank_holds_values_and_places_beside_other_tasks(order: tuple[int, ...]) -> None:
    """Rows are laid out anew where one task has more entries in a layer than those before it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 40), nn.LayerNorm(40), nn.Tanh(), nn.Linear(40, 5, bias=False))
    model = MultiTask(net, num_features=5).eval()
    methods = [tfold.FishMask(0.02), tfold.FishMask(0.05), tfold.Piggyback(), tfold.FineTuning()]
    for n, method in enumerate(methods[m] for m in order):
        model.add_task(f"t{n}", head=3, method=method)
        if isinstance(method, tfold.FishMask):
            stir(model, f"t{n}", n)
    bank, x = model.bank([]), torch.randn(6, 6)

    def agree() -> None:
        rows = [list(bank)[n % len(bank)] for n in range(6)]
        with torch.no_grad():
            wanted = torch.stack([model(x, task=name)[n] for n, name in enumerate(rows)])
            torch.testing.assert_close(torch.stack(list(bank(x, task=rows))), wanted)

    for n in range(4):
        bank.add(model[f"t{n}"])
        agree()
    bank.remove("t1")
    agree()
    bank.add(model["t1"])
    agree()


def test_a_row_of_a_bank_is_four_bytes_and_a_number_for_each_entry() -> None:
    model = MultiTask(nn.Sequential(nn.Linear(50, 40, bias=False)), tfold.FishMask(0.01))
    model.add_task("a")
    bank = model.bank()
    assert (bank.table.numbers.shape[1], bank.table.bits.shape[1]) == (20, 80)


def test_a_graph_of_a_task_has_sizes_that_depend_on_no_numbers() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    model = MultiTask(network, tfold.FishMask(0.2)).eval()
    for n, name in enumerate("ab"):
        model.add_task(name)
        stir(model, name, n)
    x = torch.randn(2, 3, 4, 4)
    wanted = model(x, task="a")
    assert not torch.allclose(wanted, model(x, task="b"))
    view = model.for_task("a")
    torch.testing.assert_close(torch.export.export(view, (x,)).module()(x), wanted)
    torch.testing.assert_close(torch.compile(view, backend="eager", fullgraph=True)(x), wanted)

"""Networks that take another path for another batch, mode or setting: a look covers each path."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

from .test_rows import METHODS, built

NAMES = list("aaabbab")
X = torch.randn(7, 6, generator=torch.Generator().manual_seed(3)).abs()
pytestmark = pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")


class Flips(nn.Module):
    """Sees its rows in reverse where `other` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.num_features = nn.Linear(6, 8), 8
        self.flipped, self.config = False, SimpleNamespace(flipped=False)
        self.register_buffer("flag", torch.zeros(()))

    def other(self, x: Tensor) -> Any:
        raise NotImplementedError

    def forward(self, x: Tensor, *how: Any) -> Tensor:
        return self.layer(x.flip(0)).tanh().flip(0) if self.other(x, *how) else self.layer(x).tanh()


class ByValue(Flips):
    def other(self, x: Tensor) -> Any:
        return (x[:, 0] < 0).any()


class ByComparison(Flips):
    def other(self, x: Tensor) -> Any:
        return not torch.equal(x.abs(), x)


class ByNumber(Flips):
    def other(self, x: Tensor) -> Any:
        return x[:, 0].min().item() < 0


class ByList(Flips):
    def other(self, x: Tensor) -> Any:
        return min(x[:, 0].tolist()) < 0


class BySize(Flips):
    def other(self, x: Tensor) -> Any:
        return len(x) > 5


class ByScalar(Flips):
    def other(self, x: Tensor, how: Tensor = torch.zeros(())) -> Any:  # noqa: B008  never written to
        return how > 0


class BySetting(Flips):
    def other(self, x: Tensor) -> Any:
        return self.flipped


class ByConfig(Flips):
    def other(self, x: Tensor) -> Any:
        return self.config.flipped


class ByBuffer(Flips):
    def other(self, x: Tensor) -> Any:
        return self.flag > 0


class InTraining(Flips):
    def other(self, x: Tensor) -> Any:
        return self.training


class ShuffledInTraining(Flips):
    """MoCo's way with batch statistics."""

    def forward(self, x: Tensor, *how: Any) -> Tensor:
        if not self.training:
            return self.layer(x).tanh()
        order = torch.randperm(len(x))
        return self.layer(x[order]).tanh()[order.argsort()]


class ByChance(Flips):
    """Takes a path at random, as layers do that are skipped in training."""

    def other(self, x: Tensor) -> Any:
        return self.training and torch.rand(()) < 0.5


def checked(run: Any, model: tfold.MultiTask, x: Tensor, *how: Any) -> None:
    names = NAMES[: len(x)]
    found = torch.stack(list(run(x, *how, task=names)))
    alone = torch.stack([model(x[n : n + 1], *how, task=name)[0] for n, name in enumerate(names)])
    other = torch.stack([model(x[n : n + 1], *how, task="c")[0] for n in range(len(x))])
    assert (alone - other).abs().max() > 0.01
    torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("network", [ByValue, ByComparison, ByNumber, ByList])
def test_paths_that_numbers_choose(network: type[Flips], first: bool, method: str) -> None:
    """The number that decides stands in the last row, and either path comes first."""
    model, turned = built(network(), METHODS[method]), X.clone()
    turned[6, 0] = -1.0
    for run in (model, model.bank()):
        for x in ((turned, X) if first else (X, turned)) * 2:
            checked(run, model, x)


@pytest.mark.filterwarnings("ignore:.*Graph break")
@pytest.mark.in_turn("first")
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("network", [ByValue, ByNumber, BySize])
def test_paths_of_a_compiled_model(network: type[Flips], first: bool) -> None:
    torch._dynamo.reset()
    model, turned = built(network(), METHODS["lora"]), X.clone()
    turned[6, 0] = -1.0
    run = torch.compile(model, backend="eager")
    with torch.no_grad():  # a compiler asks for gradients of what it takes up again, and torch warns
        for x in ((turned, X[:4], X) if first else (X, X[:4], turned)) * 2:
            checked(run, model, x)


@pytest.mark.parametrize("sizes", [(4, 7), (7, 4)])
def test_paths_that_hang_on_the_number_of_rows(sizes: tuple[int, int]) -> None:
    model = built(BySize(), METHODS["lora"])
    for run in (model, model.bank()):
        for size in sizes * 2:
            checked(run, model, X[:size])


def test_paths_that_an_argument_chooses() -> None:
    model = built(ByScalar(), METHODS["lora"])
    for run in (model, model.bank()):
        for how in (0.0, 1.0, 0.0):
            checked(run, model, X, torch.tensor(how))


@pytest.mark.parametrize("network", [BySetting, ByConfig, ByBuffer])
def test_paths_that_a_setting_chooses(network: type[Flips]) -> None:
    net = network()
    model = built(net, METHODS["lora"])
    bank = model.bank()
    for value in (False, True, False):
        net.flipped = net.config.flipped = value
        net.flag.fill_(float(value))  # type: ignore[operator]
        for run in (model, bank):
            checked(run, model, X)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("begin", ["train", "eval"])
@pytest.mark.parametrize("network", [InTraining, ShuffledInTraining, ByChance])
def test_paths_of_training_alone(network: type[Flips], begin: str, method: str) -> None:
    model = built(network(), METHODS[method])
    getattr(model, begin)()
    model(X, task=NAMES)
    model.train()
    for seed in range(4):
        torch.manual_seed(seed)
        checked(model, model, X)
    made = model(X, task=NAMES)
    made.of("a").sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model["b"].parameters())
    assert any(p.grad is not None and p.grad.any() for p in model["a"].parameters())


def test_a_network_that_counts_its_calls_is_looked_at_once() -> None:
    class Counts(Flips):
        def other(self, x: Tensor) -> Any:
            self.calls = getattr(self, "calls", 0) + 1
            return False

    model = built(Counts(), METHODS["lora"])
    for _ in range(3):
        checked(model, model, X)
    before = dict(model._runner.forms)
    model(X, task=NAMES)
    assert model._runner.forms == before


def test_dropout_does_not_hide_rows_in_training() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.GELU(), nn.Linear(8, 8))
    net.num_features = 8  # type: ignore[assignment]
    model = built(net, METHODS["lora"]).train()
    sizes: list[int] = []
    net[3].register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    model(X, task=NAMES)
    assert sizes == [7]

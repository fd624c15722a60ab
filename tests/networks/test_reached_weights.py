"""A layer's weight that the network uses without calling the layer: a task's change would not reach it."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import taskfold as tfold

from .tuned import tuned

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


class Reaching(nn.Module):
    """Calls a layer, and adds what its weight makes, which it has in some other way."""

    num_features = 6

    def __init__(self, reach: Callable[[Reaching], Tensor]) -> None:
        super().__init__()
        self.reach, self.first, self.second = reach, nn.Linear(6, 6), nn.Linear(6, 6)
        self.held = [self.second.weight]

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        return self.second(y) + F.linear(y, self.reach(self))


WAYS: dict[str, Callable[[Reaching], Tensor]] = {
    "list": lambda net: net.held[0],
    "parameters": lambda net: next(net.second.parameters()),
    "state": lambda net: net.state_dict()["second.weight"],
    "table": lambda net: net.second._parameters["weight"],  # type: ignore[return-value]
    "vector": lambda net: nn.utils.parameters_to_vector(net.second.parameters())[:36].reshape(6, 6),
}


@pytest.mark.parametrize("task", ["a", list("abab")])
@pytest.mark.parametrize("way", WAYS)
def test_who_does_not_ask_the_layer_is_refused(way: str, task: str | list[str]) -> None:
    model = tuned(Reaching(WAYS[way]))
    with pytest.raises(ValueError, match=r"layer 'second' without asking.*targets=\('\*', '!second'\)"):
        model(X, task=task)
    with pytest.raises(ValueError, match="layer 'second' without asking"):
        model.bank()(X, task=list("abab"))
    spared = tfold.MultiTask(Reaching(WAYS[way]), tfold.LoRA(rank=2, layers="linear", targets=("*", "!second"))).eval()
    for parameter in spared.add_task("a").parameters():
        parameter.data += 0.3
    torch.testing.assert_close(spared(X, task="a"), spared.fold("a")(X))


@pytest.mark.parametrize("name", ["get_parameter", "type"])
def test_who_asks_is_answered(name: str) -> None:
    """By `get_parameter`; and a parameter's type and size say nothing of its numbers."""
    asked: Callable[[Reaching], Tensor] = {
        "get_parameter": lambda net: net.get_parameter("second.weight"),
        "type": lambda net: next(net.second.parameters()).new_ones(6, 6) + torch.zeros_like(net.held[0]),
    }[name]
    model = tuned(Reaching(asked))
    for task in "ab":
        torch.testing.assert_close(model(X, task=task), model.fold(task).eval()(X))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*task by task")
        found = torch.stack(list(model(X, task=list("abab"))))
    torch.testing.assert_close(found, torch.stack([model(X, task=t)[n] for n, t in enumerate("abab")]))


@pytest.mark.filterwarnings("ignore:.*task by task")
def test_a_pass_may_differentiate_by_a_weight() -> None:
    class Adapts(nn.Module):
        """Takes a step of its last layer on the loss of its inputs (test-time training)."""

        num_features = 6

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                y, weight = torch.tanh(self.first(x)), self.last.weight
                losses = F.linear(y, weight).square().sum(1)
                steps = [torch.autograd.grad(one, weight, retain_graph=True, allow_unused=True)[0] for one in losses]
                return torch.stack([F.linear(row, weight - step) for row, step in zip(y, steps, strict=True)])

    model = tuned(Adapts())
    for task in "ab":
        torch.testing.assert_close(model(X, task=task), model.fold(task).eval()(X))


def test_a_parameter_that_another_layer_has_too_is_not_taken() -> None:
    class Tied(nn.Module):
        num_features = 6

        def __init__(self) -> None:
            super().__init__()
            self.words, self.first, self.last = nn.Embedding(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.last.weight = self.words.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.tanh(self.first(self.words(x).mean(1))))

    model, x = tuned(Tied()), torch.randint(6, (4, 3), generator=torch.Generator().manual_seed(1))
    found = torch.stack(list(model(x, task=list("abab"))))
    torch.testing.assert_close(found, torch.stack([model(x, task=t)[n] for n, t in enumerate("abab")]))

"""Layers whose forward is wrapped, or takes any arguments: the network's arguments are passed on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold


def other_names(inner: Callable[..., Any]) -> Callable[..., Any]:
    """A wrapper that names the parameters of what it wraps otherwise than what it calls does."""

    @functools.wraps(inner)
    def forward(self: nn.Module, *given: Any, **named: Any) -> Any:
        return _scaled(self, *given, **named)

    return forward


def _scaled(layer: nn.Module, hidden: Tensor, factor: Tensor, by: float = 1.0) -> Tensor:
    return nn.functional.linear(hidden, layer.weight, layer.bias) * factor * by  # type: ignore[arg-type]


class Wrapped(nn.Linear):
    @other_names
    def forward(self, input: Tensor, scale: Tensor, times: float = 1.0) -> Tensor:  # type: ignore[override]
        raise NotImplementedError


class Starred(nn.Linear):
    def forward(self, *inputs: Tensor, by: float) -> Tensor:  # type: ignore[override]
        hidden, factor = inputs
        return _scaled(self, hidden, factor, by)


class Positional(nn.Linear):
    def forward(self, hidden: Tensor, /, factor: Tensor, *, by: float = 1.0) -> Tensor:  # type: ignore[override]
        return _scaled(self, hidden, factor, by)


class Net(nn.Module):
    num_features = 5

    def __init__(self, kind: type[nn.Linear]) -> None:
        super().__init__()
        self.first, self.scale = nn.Linear(6, 4), nn.Linear(6, 5)
        self.layer = kind(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.first(x).tanh(), self.scale(x).sigmoid(), by=2.0)


@pytest.mark.parametrize("kind", [Wrapped, Starred, Positional])
@torch.no_grad()
def test_arguments_arrive_as_they_were_passed(kind: type[nn.Linear]) -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(Net(kind), tfold.FineTuning()).eval()
    for name in "ab":
        model.add_task(name, head=3)
        for parameter in model[name].parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    x, names = torch.randn(4, 6), list("abba")
    wanted = [model(x[n : n + 1], task=name)[0] for n, name in enumerate(names)]
    assert float((model(x[:1], task="b")[0] - wanted[0]).abs().max()) > 1e-2
    for found in (model(x, task=names), model.bank()(x, task=names)):
        torch.testing.assert_close([*found], wanted)
    every = model(x, task=["a", "b"], broadcast=True)
    torch.testing.assert_close([every[name][n] for n, name in enumerate(names)], wanted)

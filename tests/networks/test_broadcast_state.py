"""The tasks of a broadcast each start from the network's state before it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

from .test_writes_and_caches import tuned, written_in


class Remembers(nn.Module):
    """Goes on from the state that its last pass has left."""

    num_features = 6

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.before = nn.Sequential(*(nn.Linear(6, 6) for _ in range(0 if first else 4)))
        self.inward, self.onward = nn.Linear(6, 6), nn.Linear(6, 6)
        self.state: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        state = 0 if self.state is None else self.onward(self.state)
        self.state = y = (self.inward(self.before(x)) + state).tanh()
        return y


class Appends(nn.Module):
    """Appends to a cache that it is given, and writes into its input."""

    num_features = 6

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.before = nn.Sequential(*(nn.Linear(6, 6) for _ in range(0 if first else 4)))
        self.keys, self.last = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        cache.keys.append(self.keys(self.before(x)))
        x += 1
        return self.last(torch.stack(cache.keys).sum(0) + x).tanh()


class Cache:
    def __init__(self, *keys: Tensor) -> None:
        self.keys = list(keys)


@pytest.mark.filterwarnings("ignore:.*one after another", "ignore:.*never called")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [Remembers, Appends])
@pytest.mark.parametrize("begun", [False, True])
def test_broadcast_tasks_begin_in_the_same_state(kind: type[nn.Module], first: bool, begun: bool) -> None:
    torch.manual_seed(0)
    net, x = kind(first).eval(), torch.randn(4, 6)
    model = tuned(net, tfold.LoRA(rank=2, layers="linear", targets=("*", "!before.*")))
    keys = [torch.randn(4, 6)] if begun else []
    if isinstance(net, Remembers) and begun:
        net.state = keys[0]

    def inputs() -> list[Any]:
        return [x.clone(), Cache(*keys)] if isinstance(net, Appends) else [x]

    with torch.no_grad():
        right = {name: written_in(net, model, name)(*inputs()) for name in "ab"}
        for who in (model, model.bank()):
            given = inputs()
            for _ in range(2):
                for name, y in who(*given, task=["a", "b"], broadcast=True).items():
                    assert torch.allclose(y, right[name], atol=1e-5)
            assert torch.equal(given[0], x)

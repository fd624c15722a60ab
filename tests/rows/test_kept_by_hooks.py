"""Networks that read what their own hooks have kept answer mixed batches, again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold


class Taps(nn.Module):
    """Reads what a hook has kept of its first layer; subclasses say where."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 4)
        self.begin()

    def begin(self) -> None:
        self.kept: dict[str, Tensor] = {}

        def keep(_: nn.Module, given: Any, output: Tensor) -> None:
            self.kept["first"] = output

        self.first.register_forward_hook(keep)

    def forward(self, x: Tensor) -> Tensor:
        self.first(x)
        return self.last(self.kept["first"].tanh())


class Clears(Taps):
    def forward(self, x: Tensor) -> Tensor:
        self.kept.clear()
        return super().forward(x)


class InAList(Taps):
    def begin(self) -> None:
        self.all: list[Tensor] = []

        def keep(_: nn.Module, given: Any, output: Tensor) -> None:
            self.all.append(output)

        self.first.register_forward_hook(keep)

    def forward(self, x: Tensor) -> Tensor:
        self.all.clear()
        y = self.first(x)
        return self.last(y) + torch.stack([*self.all]).sum(0)


class InAnAttribute(Taps):
    def begin(self) -> None:
        self.one: Any = None
        self.first.register_forward_hook(self.keep)

    def keep(self, _: nn.Module, given: Any, output: Tensor) -> None:
        self.one = output

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh()) + self.one


class OnTheLayer(Taps):
    def begin(self) -> None:
        def keep(layer: Any, given: Any, output: Tensor) -> None:
            layer.output = output

        self.first.register_forward_hook(keep)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh()) + self.first.output  # type: ignore[operator]


@pytest.mark.parametrize("kind", [Taps, Clears, InAList, InAnAttribute, OnTheLayer])
@pytest.mark.filterwarnings("ignore:.* answers mixed batches task by task")
@torch.no_grad()
def test_every_mixed_batch_is_the_tasks_one_by_one(kind: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(kind().eval(), tfold.LoRA(rank=2, init="normal", layers="linear")).eval()
    for name in "ab":
        model.add_task(name)
    alone, kept = {}, torch.randn(5, 6)
    for x, names in ((kept, "ababb"), (torch.randn(5, 6), "ababb"), (torch.randn(3, 6), "bab"), (kept, "bbaab")):
        mixed = model(x, task=[*names])
        for name in "ab":
            mine = [n for n, one in enumerate(names) if one == name]
            alone[name] = model(x[mine], task=name)
            torch.testing.assert_close(mixed[mine], alone[name])
        assert not torch.equal(alone["a"][:1], alone["b"][:1])

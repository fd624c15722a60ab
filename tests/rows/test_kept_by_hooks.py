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


class Shifts(Taps):
    """Subtracts the rows' mean, which a hook has left somewhere before the model was made; subclasses say where."""

    def begin(self) -> None:
        self.mean: Any = 0.0
        self.seen: dict[str, Any] = {"mean": 0.0, "calls": 0}
        self.register_buffer("average", torch.zeros(4), persistent=False)
        self.first.register_forward_hook(lambda _, __, y: self.tell(y.detach()))

    def tell(self, y: Tensor) -> None:
        self.mean = y.mean().item()

    def shift(self) -> Any:
        return self.mean

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh()) + self.shift()


class ByATensor(Shifts):
    def tell(self, y: Tensor) -> None:
        self.mean = y.mean(0)


class InADict(Shifts):
    def tell(self, y: Tensor) -> None:
        self.seen["mean"] = y.mean()

    def shift(self) -> Any:
        return self.seen["mean"]


class InABuffer(Shifts):
    def tell(self, y: Tensor) -> None:
        self.average = y.mean(0)

    def shift(self) -> Any:
        return self.average


MEANS = {"mean": 0.0}


class InAGlobal(Shifts):
    def tell(self, y: Tensor) -> None:
        MEANS["mean"] = y.mean().item()

    def shift(self) -> Any:
        return MEANS["mean"]


@pytest.mark.filterwarnings("ignore:.* answers mixed batches task by task")
@pytest.mark.parametrize("kind", [Shifts, ByATensor, InADict, InABuffer, InAGlobal])
@torch.no_grad()
def test_a_hook_whose_mean_the_network_reads_mixes_rows(kind: Callable[[], nn.Module]) -> None:
    model = tfold.MultiTask(kind().eval(), tfold.LoRA(rank=2, init="normal", layers="linear")).eval()
    for name in "ab":
        model.add_task(name)
    for _ in range(2):
        with pytest.raises(ValueError, match="module 'first' has a hook that writes what the network reads"):
            model(torch.randn(5, 6), task=[*"ababb"])


class Notes(Shifts):
    """Keeps what no pass reads."""

    def tell(self, y: Tensor) -> None:
        self.mean = self.seen["mean"] = y.mean().item()
        self.seen["calls"] += 1
        self.features = y

    def shift(self) -> float:
        return 0.0


@torch.no_grad()
def test_a_hook_whose_notes_no_pass_reads_sees_the_mixed_batch() -> None:
    network = Notes().eval()
    model = tfold.MultiTask(network, tfold.LoRA(rank=2, init="normal", layers="linear")).eval()
    for name in "ab":
        model.add_task(name)
    for n in range(1, 4):
        model(torch.randn(5, 6), task=[*"ababb"])
        assert (network.seen["calls"], len(network.features)) == (n, 5)

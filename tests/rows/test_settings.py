"""A setting that moves rows and is changed after the first mixed batch is noticed, on any module."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

FLIP = False
OPTIONS = {"inner": {"flip": False}}


class Shared:
    flip = False


class Slots:
    __slots__ = ("flip",)

    def __init__(self) -> None:
        self.flip = False


class Net(nn.Module):
    num_features = 8
    flip = False
    calls = 0
    flags: ClassVar[list[bool]] = [False]

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.config = SimpleNamespace(flip=False, sub=SimpleNamespace(flip=False), dropped=[{"flip": False}])
        self.first.settings = {"flip": False}
        self.slots = Slots()
        closed = SimpleNamespace(flip=False)
        self.closed, self.asked = closed, lambda: closed.flip

    def flipped(self) -> bool:
        config, kind = self.config, type(self)
        inside = config.flip or config.sub.flip or config.dropped[0]["flip"] or self.first.settings["flip"]
        outside = FLIP or OPTIONS["inner"]["flip"] or Shared.flip or helped()
        return bool(inside or outside or self.slots.flip or self.asked() or kind.flip or kind.flags[0])

    def forward(self, x: Tensor) -> Tensor:
        Net.calls += 1
        flip = self.flipped()
        h = self.first(x).tanh()
        h = self.second(h.flip(0) if flip else h).tanh()
        return self.last(h.flip(0) if flip else h)


HELPED = [False]


def helped() -> bool:
    return HELPED[0]


PLACES: dict[str, Callable[[Net], tuple[Any, Any]]] = {
    "configuration": lambda net: (net.config, "flip"),
    "inner configuration": lambda net: (net.config.sub, "flip"),
    "dict in a list": lambda net: (net.config.dropped[0], "flip"),
    "dict of a layer": lambda net: (net.first.settings, "flip"),
    "slots": lambda net: (net.slots, "flip"),
    "closure": lambda net: (net.closed, "flip"),
    "class": lambda _: (Net, "flip"),
    "list of a class": lambda _: (Net.flags, 0),
    "global variable": lambda _: (globals(), "FLIP"),
    "global dict": lambda _: (OPTIONS["inner"], "flip"),
    "another class": lambda _: (Shared, "flip"),
    "global of a function that is called": lambda _: (HELPED, 0),
}


def put(place: tuple[Any, Any], value: bool) -> None:
    owner, name = place
    if isinstance(owner, (dict, list)):
        owner[name] = value
    else:
        setattr(owner, name, value)


def built(net: nn.Module) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(net, tfold.LoRA(rank=2, layers="linear", init="normal"))
    for name in "ab":
        for parameter in model.add_task(name, head=3).parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.filterwarnings("ignore:.*answers mixed batches task by task")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", PLACES)
def test_a_setting_that_is_turned_is_noticed(name: str, training: bool) -> None:
    net = Net()
    model = built(net).train(training)
    x, names = torch.randn(5, 6), list("abbab")
    runs = (model,) if training else (model, model.bank())
    for run in runs:
        run(x, task=names)
    try:
        for value in (True, False, True):
            put(PLACES[name](net), value)
            wanted = torch.stack([model(x[n : n + 1], task=task)[0] for n, task in enumerate(names)])
            for run in runs:
                torch.testing.assert_close(torch.stack(list(run(x, task=names))), wanted)
    finally:
        put(PLACES[name](net), False)


def test_what_a_pass_counts_up_asks_nothing_again() -> None:
    model = built(Net()).eval()
    x = torch.randn(5, 6)
    model(x, task=list("abbab"))
    before = Net.calls
    for n in range(3):
        model(x, task=list("abbab"))
        assert Net.calls == before + n + 1

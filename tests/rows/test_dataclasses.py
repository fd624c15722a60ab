"""Networks that return dataclasses and mappings of their own: their contents are found, split and joined."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold


@dataclass
class Output:
    sample: Tensor
    more: list[Tensor]
    words: str = "said"


@dataclass(frozen=True)
class Frozen:
    sample: Tensor
    inner: Output


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "dataclass": lambda y: Output(y, [y[:, :2], -y]),
    "frozen dataclass": lambda y: Frozen(y, Output(2 * y, [])),
    "mapping": lambda y: UserDict(sample=y, more=[-y]),
    "dataclass in a list": lambda y: [Output(y, []), y.mean(1)],
}


class Plain:
    def __init__(self, sample: Tensor) -> None:
        self.held = [{"sample": sample}]


class Slots:
    __slots__ = ("sample",)

    def __init__(self, sample: Tensor) -> None:
        self.sample = sample


OPAQUE: dict[str, Callable[[Tensor], Any]] = {
    "object": Plain,
    "slots": Slots,
    "distribution": lambda y: torch.distributions.Normal(y, y.exp()),
    "list of objects": lambda y: [Plain(y)],
}


class Net(nn.Module):
    def __init__(self, made: Callable[[Tensor], Any], mixing: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 5)
        self.made, self.mixing = made, mixing

    def forward(self, x: Tensor) -> Any:
        y = self.last(self.first(x).tanh())
        return self.made(y @ y.mT @ y if self.mixing else y)


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        return tensors([getattr(value, one.name) for one in fields(value)])
    held = value.values() if isinstance(value, (dict, UserDict)) else value if isinstance(value, list) else []
    return [tensor for one in held for tensor in tensors(one)]


def model(net: nn.Module, rows: str = "checked") -> tfold.MultiTask:
    torch.manual_seed(0)
    made = tfold.MultiTask(net, tfold.LoRA(rank=2, layers="linear", init="normal"), rows=rows).eval()  # type: ignore
    for name in "ab":
        made.add_task(name)
        for parameter in made[name].parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.mark.parametrize("rows", ["checked", "separate"])
@pytest.mark.parametrize("output", OUTPUTS)
@torch.no_grad()
def test_a_mixed_batch(output: str, rows: str) -> None:
    adapted, x, names = model(Net(OUTPUTS[output]), rows), torch.randn(4, 6), list("abba")
    alone = {name: tensors(adapted(x, task=name)) for name in "ab"}
    assert all(float((a - b).abs().max()) > 1e-2 for a, b in zip(alone["a"], alone["b"], strict=True))
    bank = adapted.bank()
    bank.rows = adapted.rows
    for found in (adapted(x, task=names), bank(x, task=names)):
        assert type(found) is type(adapted(x, task="a"))
        for n, name in enumerate(names):
            torch.testing.assert_close([one[n] for one in tensors(found)], [one[n] for one in alone[name]])
    every = adapted(x, task=["a", "b"], broadcast=True)
    for name in "ab":
        torch.testing.assert_close(tensors(every[name]), alone[name])


@pytest.mark.parametrize("output", OUTPUTS | OPAQUE)
@torch.no_grad()
def test_rows_that_depend_on_several_are_refused(output: str) -> None:
    adapted = model(Net((OUTPUTS | OPAQUE)[output], mixing=True))
    with pytest.raises(ValueError, match="each depends on several"):
        adapted(torch.randn(4, 6), task=list("abba"))


@pytest.mark.parametrize("output", OPAQUE)
@torch.no_grad()
def test_objects_are_answered_in_one_pass_or_refused(output: str) -> None:
    adapted, x, names = model(Net(OPAQUE[output])), torch.randn(4, 6), list("abba")
    found = inside(adapted(x, task=names))
    wanted = [inside(adapted(x, task=name))[n] for n, name in enumerate(names)]
    torch.testing.assert_close([*found], wanted)
    with pytest.raises(ValueError, match=r"it puts out a \w+, which can't be cut into rows"):
        model(Net(OPAQUE[output]), "separate")(x, task=names)


def inside(value: Any) -> Tensor:
    if isinstance(value, torch.distributions.Normal):
        return value.loc
    if isinstance(value, list):
        return inside(value[0])
    return value.sample if isinstance(value, Slots) else value.held[0]["sample"]  # type: ignore[no-any-return]

"""Writes of layers in a pass, and networks' caches of a task's tensors."""

from __future__ import annotations

import copy
import functools
import random
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask

from .tuned import tuned


def written_in(net: nn.Module, model: MultiTask, name: str) -> nn.Module:
    """A deepcopy of the network with a task's weights written in."""
    plain = copy.deepcopy(net)
    for key, value in model.materialise(name).items():
        plain.get_parameter(key).data.copy_(value)
    return plain.eval()


class Limited(nn.Linear):
    """Limits its own weight when it runs, in one of the ways that people do."""

    def __init__(self, way: str) -> None:
        super().__init__(6, 6)
        self.way = way

    def forward(self, input: Tensor) -> Tensor:
        limit(self, self.way)
        return super().forward(input)


class Limiting(nn.Module):
    """Limits its child's weight when it runs."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.inner = way, nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        limit(self.inner, self.way)
        return self.inner(x)


def limit(layer: nn.Linear, way: str) -> None:
    with torch.no_grad():
        short = torch.renorm(layer.weight.detach(), p=2, dim=0, maxnorm=0.3)
        if way == "exchanged":
            layer.weight.data = short
        elif way == "data":
            layer.weight.data.copy_(short)
        elif way == "scaled":
            layer.weight.data.mul_(0.9)
        elif way == "set":
            layer.weight.set_(short)  # type: ignore[call-overload]
        else:
            layer.weight.copy_(short)


METHODS = {
    "adapted": tfold.LoRA(rank=2, layers="linear"),
    "left": tfold.LoRA(rank=2, layers="linear", targets="0"),
    "tuned": tfold.FineTuning(),
}


@pytest.mark.parametrize("kind", [Limited, Limiting])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["exchanged", "data", "scaled", "set", "copied"])
def test_a_layer_that_limits_its_weight_is_refused(way: str, method: str, kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), kind(way), nn.Flatten())
    kept = {name: (tensor, tensor.data_ptr(), tensor.clone()) for name, tensor in net.state_dict().items()}
    x = torch.randn(4, 6)
    for names in ("a", list("abab")):
        for training in (False, True):
            model = tuned(net, METHODS[method]).train(training)
            tasks = {name: value.clone() for name, value in model.state_dict().items()}
            if (names, way, method, kind) == ("a", "exchanged", "adapted", Limited):  # the memory is of this pass alone
                torch.testing.assert_close(model(x, task="a"), written_in(net, model, "a").train(training)(x))
                continue
            with pytest.raises(RuntimeError, match=r"layer '1(.inner)?' \(\w+\) writes the backbone's tensor 'weight'"):
                model(x, task=names)
            assert all(torch.equal(value, tasks[name]) for name, value in model.state_dict().items())
    model = tuned(net, METHODS[method])
    if (way, method, kind) == ("exchanged", "adapted", Limited):
        for name, found in model(x, task=["a", "b"], broadcast=True).items():
            torch.testing.assert_close(found, written_in(net, model, name)(x))
    else:
        with pytest.raises(RuntimeError, match="writes the backbone's tensor"):
            model(x, task=["a", "b"], broadcast=True)
    with pytest.raises(RuntimeError, match="writes the backbone's tensor"):
        tuned(net, METHODS[method]).bank()(x, task=list("abab"))
    for name, (_, place, before) in kept.items():
        now = net.state_dict()[name]
        assert torch.equal(now, before)
        assert now.data_ptr() == place


@pytest.mark.parametrize("way", ["written", "registered"])
def test_a_buffer_written_now_and_then_in_evaluation_is_refused(way: str) -> None:
    class Counts(nn.Linear):
        passes = 0

        def __init__(self) -> None:
            super().__init__(6, 6)
            self.register_buffer("seen", torch.zeros(6))
            self.register_buffer("table", None, persistent=False)

        def forward(self, input: Tensor) -> Tensor:
            self.passes += 1
            self.register_buffer("table", torch.ones(self.passes), persistent=False)  # no part of the state
            if self.passes > 8 and way == "written":
                self.seen.add_(1)
            elif self.passes > 8:
                self.register_buffer("seen", self.seen + 1)
            return super().forward(input) + self.seen

    for names in ("a", list("abab")):
        model = tuned(nn.Sequential(nn.Linear(6, 6), Counts()), tfold.LoRA(rank=2, layers="linear", targets="0"))
        often = (model(torch.randn(4, 6), task=names) for _ in range(12))
        with pytest.raises(RuntimeError, match=r"layer '1' \(Counts\) writes the backbone's tensor 'seen'"):
            list(often)


def test_a_weight_limited_now_and_then_in_training_is_refused() -> None:
    class Sometimes(Limited):
        passes = 0

        def forward(self, input: Tensor) -> Tensor:
            self.passes += 1
            return super().forward(input) if self.passes > 2 else nn.Linear.forward(self, input)

    model = tuned(nn.Sequential(nn.Linear(6, 6), Sometimes("exchanged")), METHODS["left"]).train()
    x = torch.randn(4, 6)
    model(x, task="a")
    model(x, task="a")
    with pytest.raises(RuntimeError, match=r"layer '1' \(Sometimes\) writes the backbone's tensor 'weight'"):
        model(x, task="a")


SPECTRAL = {"parametrised": nn.utils.parametrizations.spectral_norm, "old": nn.utils.spectral_norm}


@pytest.mark.parametrize("way", SPECTRAL)
@pytest.mark.parametrize("targets", ["0", "2"])
def test_spectral_norms_stay_as_they_are(way: str, targets: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), SPECTRAL[way](nn.Linear(6, 6)), nn.Linear(6, 6))  # in training mode
    kept, x = copy.deepcopy(net.state_dict()), torch.randn(4, 6)
    model = tuned(net, tfold.LoRA(rank=2, layers="linear", targets=targets))
    with torch.no_grad():
        right = {name: written_in(net, model, name)(x) for name in "ab"}
        for _ in range(2):
            for who in (model, model.bank()):
                for name, y in who(x, task=["a", "b"], broadcast=True).items():
                    assert torch.allclose(y, right[name], atol=1e-5)
                for name, row, n in zip("abab", who(x, task=list("abab")), range(4), strict=True):
                    assert torch.allclose(row, right[name][n], atol=1e-5)
    for task in ("a", list("abab")):
        model.train()(x, task=task)
    model.fold("a")
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())


def test_looking_at_layers_reads_no_property_of_theirs() -> None:
    class Computed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_features = self.out_features = 6
            self.raw, self.reads = nn.Parameter(torch.randn(6, 6)), 0

        @property
        def weight(self) -> Tensor:
            self.reads += 1
            return self.raw.tanh()

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.weight)

    net = nn.Sequential(nn.Linear(6, 6), Computed())
    model = tuned(net, tfold.LoRA(rank=2, layers="linear", targets="0"))
    model(torch.randn(4, 6), task="a")
    assert net[1].reads == 1


class Keeps(nn.Module):
    """Reads its child's weight, or calls it, and keeps what it makes of that, in one of the ways that people do."""

    num_features = 6

    def __init__(self, way: str, what: str = "weight") -> None:
        super().__init__()
        self.what = what
        self.way, self.inner, self.last = way, nn.Linear(6, 6), nn.Linear(6, 6)
        self.table: Tensor | None = None
        self.rows = 0
        self.tables: dict[str, Tensor] = {}
        self.many: list[Tensor] = []
        self.weak: Any = weakref.WeakKeyDictionary()
        cell: list[Tensor] = []
        self.closure = lambda: cell[0] if cell else (cell.append(self.made()), cell[0])[1]

    def made(self) -> Tensor:
        return self.inner(torch.ones(1, 6)) if self.what != "weight" else self.inner.weight.t().contiguous()

    @functools.cache  # noqa: B019
    def remembered(self) -> Tensor:
        return self.made()

    @functools.cached_property
    def property_(self) -> Tensor:
        return self.made()

    def turned(self) -> Tensor:
        if self.way == "attribute":
            if self.table is None:
                self.table = self.made()
            return self.table
        if self.way == "alias":
            if self.table is None:
                self.table = self.inner.weight
            return self.table.t()
        if self.way == "dict":
            if "t" not in self.tables:
                self.tables["t"] = self.made()
            return self.tables["t"]
        if self.way == "by length":
            if str(self.rows) not in self.tables:
                self.tables[str(self.rows)] = self.made()
            return self.tables[str(self.rows)]
        if self.way == "list":
            if not self.many:
                self.many.append(self.made())
            return self.many[0]
        if self.way == "weak":
            if self not in self.weak:
                self.weak[self] = self.made()
            return self.weak[self]
        if self.way == "closure":
            return self.closure()
        if self.way == "lru":
            return self.remembered()
        if self.way == "property":
            return self.property_
        return self.made()

    def forward(self, x: Tensor) -> Tensor:
        self.rows = len(x)
        if self.what in ("output", "one of two"):
            other = self.inner(x) if self.what == "one of two" else x
            return self.last(other + self.turned())
        zero = torch.zeros((), dtype=self.inner.weight.dtype)
        return self.last(x @ self.turned() + self.inner.bias + zero)


WAYS = ["attribute", "dict", "by length", "list", "weak", "lru", "property"]


@pytest.mark.filterwarnings("ignore:.*task by task", "ignore:.*one after another")
@pytest.mark.parametrize("what", ["weight", "output", "one of two"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", ["single", "mixed", "broadcast", "bank", "other"])
def test_what_a_network_keeps_of_a_layer_is_refused(way: str, first: str, what: str) -> None:
    torch.manual_seed(0)
    net, x = Keeps(way, what).eval(), torch.randn(4, 6)
    own = copy.deepcopy(net)
    model = tuned(net)
    spared = model.add_task("c", method=tfold.LoRA(rank=2, layers="linear", targets="last"))
    for parameter in spared.parameters():
        parameter.data += 0.3
    kept = "the output" if what != "weight" else "what it has computed of the 'weight'"
    words = f"keeps {kept} of layer 'inner'.*leave the layer out"
    with torch.no_grad():
        right, plain = written_in(own, model, "c")(x), own(x)
        if first == "other":
            assert torch.allclose(model(x, task="c"), right, atol=1e-5)
        elif first == "bank":
            with pytest.raises(ValueError, match=words):
                model.bank()(x, task=list("abab"))
        elif first == "broadcast":
            with pytest.raises(ValueError, match=words):
                model(x, task=["a", "b"], broadcast=True)
        elif first == "mixed":
            with pytest.raises(ValueError, match=words):
                model(x, task=list("abab"))
        for _ in range(2):
            for name in "ab":
                with pytest.raises(ValueError, match=words):
                    model(x, task=name)
            with pytest.raises(ValueError, match=words):
                model(x, task=list("abab"))
            assert torch.allclose(model(x, task="c"), right, atol=1e-5)
        assert torch.allclose(net(x), plain, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*task by task", "ignore:.*one after another")
@pytest.mark.parametrize(
    ("way", "what"), [("anew", "weight"), ("alias", "weight"), ("anew", "output"), ("anew", "one of two")]
)
def test_what_a_network_reads_anew_is_each_tasks_own(way: str, what: str) -> None:
    torch.manual_seed(0)
    net, x = Keeps(way, what).eval(), torch.randn(4, 6)
    own = copy.deepcopy(net)
    model = tuned(net)
    calls: list[int] = []
    net.last.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        right = {name: written_in(own, model, name)(x) for name in "ab"}
        for name in "abab":
            assert torch.allclose(model(x, task=name), right[name], atol=1e-5)
        assert len(calls) == 4  # nobody sees the passes beside it
        for name, y in model(x, task=["a", "b"], broadcast=True).items():
            assert torch.allclose(y, right[name], atol=1e-5)
        for name, row, n in zip("abab", model(x, task=list("abab")), range(4), strict=True):
            assert torch.allclose(row, right[name][n], atol=1e-5)
        assert torch.allclose(net(x), own(x), atol=1e-6)


def test_looking_for_rows_leaves_random_numbers_and_lists_alone() -> None:
    seen: list[int] = []

    class Rolls(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            seen.append(len(input))
            random.random()
            np.random.rand()
            return super().forward(input) + 0 * torch.rand(())

    model = tuned(nn.Sequential(nn.Linear(6, 6), Rolls(6, 6)), METHODS["left"])
    model.backbone.seen = seen  # type: ignore[assignment]
    found = []
    for _ in range(2):  # the first looks for rows
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        model(torch.ones(4, 6), task=list("abab"))
        found.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert found[0] == found[1]
    assert seen == [4, 4]

"""What a network keeps from one pass to the next is each task's own: no task goes on from another's."""

from __future__ import annotations

import copy
import gc
import pickle
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold.layers import _left
from taskfold.layers._left import FEW, states_of

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


class Keeps(nn.Module):
    """Adds what its last pass has left; `way` says where that lies, and how it is written."""

    num_features = 4

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(4, 4), way
        self.child: Any = nn.Identity()
        self.base = torch.zeros(2, 1, 4)
        self.state: Any = self.first()
        self.child.state = None
        self.at = 0

    def first(self) -> Any:
        match self.way:
            case "tensor" | "inside" | "same":
                return torch.zeros(1, 4)
            case "in a list":
                return [torch.zeros(1, 4)]
            case "in a tuple":
                return (torch.zeros(1, 4),)
            case "nested":
                return [{"h": torch.zeros(1, 4)}]
            case "entry":
                return {"h": torch.zeros(1, 4)}
            case "appended":
                return []
            case "queue":
                return deque([torch.zeros(1, 4)], maxlen=1)
            case "object":
                return SimpleNamespace(h=torch.zeros(1, 4))
            case "view":
                return self.base[1]
        return None

    def forward(self, x: Tensor) -> Tensor:
        y = (self.layer(x) + self.before()).tanh()
        self.leave(y.mean(0, keepdim=True))
        return y

    def before(self) -> Tensor | float:
        match self.way:
            case "child":
                state: Any = self.child.state
                return 0.0 if state is None else state
            case "absent":
                return self.kept if hasattr(self, "kept") else 0.0  # type: ignore[return-value]
            case "class":
                return 0.0 if self.common is None else self.common
            case "positions":
                return 0.0 if self.at == 0 else self.state[:, : self.at].sum(1)
            case "object":
                return self.state.h
            case "appended":
                return torch.stack(self.state).sum(0) if self.state else 0.0
        value = self.state[0] if isinstance(self.state, list | tuple | deque) else self.state
        value = value["h"] if isinstance(value, dict) else value
        return 0.0 if value is None else value

    common: Tensor | None = None

    def leave(self, h: Tensor) -> None:
        match self.way:
            case "child":
                self.child.state = h
            case "absent":
                self.kept = h
            case "class":
                self.common = h
            case "inside":
                self.state.copy_(h)
            case "same":  # as LLaMA's first code
                self.state = self.state.to(h)
                self.state[:] = h
            case "in a list" | "in a tuple":
                self.state[0].copy_(h)
            case "nested":
                self.state[0]["h"].copy_(h)
            case "entry":
                self.state["h"] = h
            case "appended" | "queue":
                self.state.append(h)
            case "object":
                self.state.h = h
            case "view":
                self.base[1].copy_(h)
            case "positions":
                both = h[:, None] if self.at == 0 else torch.cat([self.state[:, : self.at], h[:, None]], 1)
                self.state, self.at = both, self.at + 1
            case "pair":
                self.state = (h, h + 1)
            case "list of dicts":
                self.state = [{"h": h}]
            case _:
                self.state = h


ASSIGNED = ("none", "tensor", "pair", "list of dicts", "child", "absent", "class", "positions")
WITHIN = ("inside", "same", "in a list", "in a tuple", "nested", "entry", "appended", "queue", "object", "view")
WAYS = (*ASSIGNED, *WITHIN)


def tuned(network: nn.Module, method: tfold.Method | None = None, names: str = "ab") -> tfold.MultiTask:
    torch.manual_seed(0)
    method = method or tfold.LoRA(rank=2, init="normal", layers="linear")
    model = tfold.MultiTask(network.eval(), method).eval()
    for name in names:
        model.add_task(name, head=3)
    return model


def made(way: str, names: str = "ab") -> tfold.MultiTask:
    torch.manual_seed(1)
    return tuned(Keeps(way), names=names)


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_each_task_goes_on_from_its_own(way: str) -> None:
    alone = {name: [(model := made(way))(X, task=name), model(X * 2, task=name), model(X, task=name)] for name in "ab"}
    assert (alone["a"][0] - alone["a"][2]).abs().max() > 0.01, "the network keeps nothing"
    model = made(way)
    found: dict[str, list[Tensor]] = {"a": [], "b": []}
    for name, x in (("a", X), ("a", X * 2), ("b", X), ("a", X), ("b", X * 2), ("b", X)):
        found[name].append(model(x, task=name))
    for name in "ab":
        torch.testing.assert_close(found[name], alone[name], atol=0, rtol=0)


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_a_fold_begins_anew(way: str) -> None:
    model = made(way)
    first = made(way)(X, task="b")
    model(X, task="a")
    torch.testing.assert_close(model.fold("b")(X), first)


@torch.no_grad()
def test_banks_and_broadcasts_leave_tasks_states_alone() -> None:
    model, other = made("none"), made("none")
    for one in (model, other):
        one(X, task="a")
    for served in (model, model.bank()):
        served(X, task=["b", "a"], broadcast=True)
    torch.testing.assert_close(model(X, task="a"), other(X, task="a"), atol=0, rtol=0)
    torch.testing.assert_close(model(X, task="b"), made("none")(X, task="b"), atol=0, rtol=0)


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_the_first_pass_begins_where_the_network_is(way: str) -> None:
    torch.manual_seed(1)
    network = Keeps(way)
    plain = copy.deepcopy(network)
    model = tfold.MultiTask(network, tfold.LoRA(rank=2, layers="linear")).eval()
    model.add_task("a")
    for _ in range(2):
        torch.testing.assert_close(model(X, task="a"), plain(X), atol=0, rtol=0)


@torch.no_grad()
def test_what_the_user_sets_is_where_all_tasks_begin() -> None:
    model = made("none")
    first = model(X, task="a")
    network: Any = model.backbone
    assert network.state is not None, "the module shows what the latest pass has left"
    network.state = None
    torch.testing.assert_close(model(X, task="a"), first, atol=0, rtol=0)
    network.state = torch.ones(1, 4)
    begun = made("none")
    begun.backbone.state = torch.ones(1, 4)
    torch.testing.assert_close(model(X, task="b"), begun(X, task="b"), atol=0, rtol=0)


class Writes(Keeps):
    """Writes its state whenever an input begins, and reads it only in later passes of that input."""

    def forward(self, x: Tensor, begins: bool) -> Tensor:  # type: ignore[override]
        y = self.layer(x)
        self.state = y if begins else self.state + y
        return self.state.tanh()


@torch.no_grad()
def test_a_state_that_others_have_written_is_refused_and_kept_from_then_on() -> None:
    torch.manual_seed(1)
    model = tuned(Writes("none"))
    for name in "ab":
        model(X, True, task=name)
    with pytest.raises(
        RuntimeError, match=r"'state' held what a task had left .* begin that task's input from its start"
    ):
        model(X, False, task="a")
    right = [model(X, True, task="a"), model(X, False, task="a"), model(X, False, task="a")]
    found = [model(X, True, task="a")]
    model(X, True, task="b")
    for _ in range(2):
        found.append(model(X, False, task="a"))
        model(X, False, task="b")
    torch.testing.assert_close(found, right, atol=0, rtol=0)


class Counts(nn.Module):
    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.passes = nn.Linear(4, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.layer(x)


def test_a_counter_of_passes_counts_all() -> None:
    model = tuned(Counts())
    for name in "aab":
        model(X, task=name)
    assert model.backbone.passes == 3


class Tells(nn.Module):
    """Leaves a loss on itself, which it does not read."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.loss = nn.Linear(4, 4), None

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.loss = y.square().mean()
        return y


def test_losses_are_the_modules_and_not_kept() -> None:
    model = tuned(Tells())
    network: Any = model.backbone
    for name in "aab":
        model(X, task=name)
    loss = ref(network.loss)
    network.loss.backward()
    network.loss = None
    model(X, task="a")
    gc.collect()
    assert loss() is None


@torch.no_grad()
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("class", "positions")])
def test_a_copy_of_a_model_has_each_tasks_own(way: str, copied: Callable[[Any], Any]) -> None:
    model = made(way)
    for _ in range(2):
        model(X, task="a")
    twin = copied(model)
    torch.testing.assert_close(twin(X, task="b"), made(way)(X, task="b"), atol=0, rtol=0)
    torch.testing.assert_close(twin(X, task="a"), model(X, task="a"), atol=0, rtol=0)


@torch.no_grad()
def test_a_mixture_that_goes_on_from_rows_before_is_refused() -> None:
    model = made("none")
    with pytest.raises(ValueError, match="run one task at a time"):
        model(X, task=["a", "b"])


class Positions(nn.Module):
    """Makes a table when it first needs one, and reads it in every pass."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.made = nn.Linear(4, 4), 0
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(4.0)
        return self.layer(x) + self.table


@torch.no_grad()
def test_a_table_that_all_tasks_make_alike_is_kept_for_few() -> None:
    model = tfold.MultiTask(Positions(), tfold.LoRA(rank=1, init="normal", layers="linear")).eval()
    names = [f"t{n}" for n in range(300)]
    for name in names:
        model.add_task(name)
    first = [model(X, task=name) for name in names]
    torch.testing.assert_close([model(X, task=name) for name in names], first, atol=0, rtol=0)
    own = states_of(model.backbone)["table"].own
    assert own is not None
    assert len(own) <= FEW


@torch.no_grad()
def test_a_state_of_more_tasks_than_are_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_left, "MOST", 2)
    torch.manual_seed(1)
    model = tuned(Keeps("none"))
    model.add_task("c", head=3)
    for parameter in model["c"].parameters():
        parameter.add_(torch.randn_like(parameter))
    for name in ("a", "b", "c"):
        model(X, task=name)
    model(X, task="c")
    with pytest.raises(RuntimeError, match="'state' held what a task had left"):
        model(X, task="a")


@torch.no_grad()
def test_what_refers_to_tensors_weakly_is_compared_too() -> None:
    class Refers(Positions):
        def forward(self, x: Tensor) -> Tensor:
            self.seen = [ref(self.layer.weight), *(self.seen if hasattr(self, "seen") else [])[:1]]
            return self.layer(x)

    model = tuned(Refers())
    for name in "abab":
        model(X, task=name)

"""Numbers, arrays and odd containers that passes leave are each task's own; what lies outside of modules is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold

from .keeping import KINDS, Array, Average, Exchanged, InSlots, Keeps, Number
from .test_left_states import X, tuned


def made(kind: Callable[[], nn.Module]) -> tfold.MultiTask:
    torch.manual_seed(1)
    return tuned(kind())


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_each_task_goes_on_from_its_own(kind: type[Keeps]) -> None:
    inputs = (X, X * 2, X, X * 3)
    models = {name: made(kind) for name in "ab"}
    alone = {name: [model(x, task=name) for x in inputs] for name, model in models.items()}
    model = made(kind)
    found: dict[str, list[Tensor]] = {"a": [], "b": []}
    for name in "aababbba":
        found[name].append(model(inputs[len(found[name])], task=name))
    for name in "ab":
        torch.testing.assert_close(found[name], alone[name], atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_first_passes_are_the_networks(kind: type[Keeps]) -> None:
    torch.manual_seed(1)
    model = tfold.MultiTask(kind().eval(), tfold.LoRA(rank=2, layers="linear")).eval()
    model.add_task("a")
    torch.manual_seed(1)
    plain = kind().eval()
    for x in (X, X * 2, X):
        torch.testing.assert_close(model(x, task="a"), plain(x), atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_fold_begins_anew(kind: type[Keeps]) -> None:
    model = made(kind)
    model(X, task="a")
    torch.testing.assert_close(model.fold("b")(X), made(kind)(X, task="b"))


@pytest.mark.parametrize("kind", [Number, Array, InSlots, Exchanged])
@torch.no_grad()
def test_a_compiled_model_that_has_run_before_goes_on_from_each_tasks_own(kind: type[Keeps]) -> None:
    model, alone = made(kind), made(kind)
    for one in (model, alone):
        one(X, task="a")
    compiled = torch.compile(model, backend="eager")
    compiled(X * 2, task="b")
    torch.testing.assert_close(compiled(X * 3, task="a"), alone(X * 3, task="a"), atol=0, rtol=0)


@pytest.mark.parametrize("kind", [Number, Average, Array, InSlots, Exchanged])
@torch.no_grad()
def test_a_compiled_model_that_has_never_run_goes_on_from_each_tasks_own(kind: type[Keeps]) -> None:
    alone, compiled = made(kind), torch.compile(made(kind), backend="eager")
    for x in (X, X * 2, X * 3):
        torch.testing.assert_close(compiled(x, task="a"), alone(x, task="a"), atol=0, rtol=0)
        compiled(x * 4, task="b")


HELD: dict[str, Tensor] = {}


class InAGlobal(Keeps):
    def step(self, h: Tensor) -> Tensor:
        HELD["h"] = h + 0.5 * HELD.get("h", torch.zeros(4))
        return HELD["h"]


class OnItsClass(Keeps):
    held = torch.zeros(4)

    def step(self, h: Tensor) -> Tensor:
        type(self).held = h + 0.5 * type(self).held
        return type(self).held


class InAClosure(Keeps):
    def begin(self) -> None:
        held = [torch.zeros(4)]

        def step(h: Tensor) -> Tensor:
            held[0] = h + 0.5 * held[0]
            return held[0]

        self.step = step


class Helper:
    def __init__(self) -> None:
        self.held = torch.zeros(4)

    def step(self, h: Tensor) -> Tensor:
        self.held.mul_(0.5).add_(h)
        return self.held.clone()


class OfAMethod(Keeps):
    def begin(self) -> None:
        self.step = Helper().step


@pytest.mark.parametrize("kind", [InAGlobal, OnItsClass, InAClosure, OfAMethod])
def test_tensors_that_are_kept_outside_of_modules_are_refused(kind: type[Keeps]) -> None:
    model = made(kind)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="keeps tensors from one pass to the next in a global variable, a class"):
            model(X, task="a")


SEEN: list[Tensor] = []


class Tells(Keeps):
    """Leaves what it has computed in a global list that no pass reads."""

    def step(self, h: Tensor) -> float:
        SEEN.append(h)
        return 0.0


@torch.no_grad()
def test_what_no_pass_reads_may_lie_anywhere() -> None:
    model = made(Tells)
    torch.testing.assert_close(model(X, task="a"), made(Tells)(X, task="a"), atol=0, rtol=0)


class Table(Keeps):
    """Registers a longer table when an input is longer."""

    table: Tensor

    def step(self, h: Tensor) -> Tensor:
        if not hasattr(self, "table") or len(self.table) < self.rows:
            self.register_buffer("table", torch.arange(float(self.rows)), persistent=False)
        return self.table[: self.rows, None]

    def forward(self, x: Tensor) -> Tensor:
        self.rows = len(x)
        return super().forward(x)


@torch.no_grad()
def test_a_table_may_be_registered_anew() -> None:
    model = made(Table)
    for x in (X, torch.cat([X, X]), X):
        torch.testing.assert_close(model(x, task="a"), made(Table)(x, task="a"), atol=0, rtol=0)


class Scaled(Keeps):
    """Reads an attribute that the user has set on a weight."""

    def step(self, h: Tensor) -> float:
        return self.layer.weight.scale  # type: ignore[return-value]


@torch.no_grad()
def test_attributes_of_weights_are_the_users() -> None:
    torch.manual_seed(1)
    network: Any = Scaled()
    network.layer.weight.scale = 3.0
    model = tuned(network)
    found = model(X, task="a")
    network.layer.weight.scale = 2.0
    torch.testing.assert_close(found, model(X, task="a") + _of_head(model, 2.0))


class Marks(Keeps):
    """Counts its passes on a weight."""

    def step(self, h: Tensor) -> float:
        weight: Any = self.layer.weight
        weight.used = getattr(weight, "used", 0) + 1
        return float(self.layer.weight.used > 0)


@torch.no_grad()
def test_a_pass_sets_attributes_of_weights() -> None:
    torch.manual_seed(1)
    network = Marks()
    model = tuned(network)
    found = model(X, task="a")
    assert vars(network.layer.weight).keys() == {"used"}, "and nothing of ours"
    torch.testing.assert_close(model(X, task="a"), found)


def _of_head(model: tfold.MultiTask, more: float) -> Tensor:
    head: Any = model["a"].head
    return (head.weight * more).sum(1)


class Nested(Keeps):
    """Runs its layer on rows of several lengths."""

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.nested.nested_tensor([one[: 1 + n % 2] for n, one in enumerate(x[:, None].expand(-1, 2, -1))])
        return self.layer(rows).to_padded_tensor(0.0).sum(1)


@torch.no_grad()
def test_nested_tensors_are_a_single_tasks() -> None:
    model = made(Nested)
    torch.testing.assert_close(model(X, task="b"), model.fold("b")(X))
    with pytest.raises(ValueError, match="makes a nested tensor, in which nobody finds the rows of a mixed batch"):
        model(X, task=["a", "b"])

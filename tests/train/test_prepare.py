"""A pass of selection before the training, against one written out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from taskfold import LoRA, MultiTask, Task
from taskfold.train import (
    JointSettings,
    Settings,
    TaskSet,
    train_task,
    train_together,
)

from .by_hand import lines
from .classes import classification
from .images import collate, images, losses
from .joint import QUICK, everything, points, sets, team
from .toys import Largest, factors


class Plainly(torch.utils.data.Dataset[Any]):
    """Other inputs than the training's, in known order; remembers what was asked for."""

    def __init__(self, name: str, size: int) -> None:
        self.data, self.asked = points(name, size, 5), list[int]()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        return self.data[index]


def test_prepare_sees_every_plain_sample_in_the_seeds_order_and_keeps_the_largest_gradients(
    tmp_path: Path,
) -> None:
    method, plain = Largest(rank=2, init="normal"), Plainly("a", 20)
    model, twin = team(method), team(method)
    data = {"a": TaskSet(points("a", 20), points("a", 7, 1), plain)}
    begun: list[dict[str, bytes]] = []

    def objective(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        if model.training and not begun:
            begun.append(everything(model))
        return classification().loss(model, batch, tasks)

    settings = JointSettings(epochs=1, batch_size=6, select_by="loss", reestimate_norm=False)
    train_together(model, data, settings, objective=objective, folder=tmp_path)
    order = plain.asked[:20]
    assert plain.asked == order * 2
    assert sorted(order) == list(range(20))
    assert order != list(range(20))
    # The same by hand: evaluation mode, no augmentation, batches of six and a last one of two.
    leaves = factors(twin["a"])
    sums = [torch.zeros_like(leaf) for leaf in leaves]
    inputs, targets = plain.data.tensors
    for _ in range(2):
        for start in range(0, 20, 6):
            rows = order[start : start + 6]
            loss = F.cross_entropy(twin.eval()(inputs[rows], task="a"), targets[rows], reduction="none")
            for total, gradient in zip(sums, torch.autograd.grad(loss.sum(), leaves), strict=True):
                total += gradient.square()
    with torch.no_grad():
        for leaf, total in zip(leaves, sums, strict=True):
            leaf[total < total.median()] = 0
    assert begun == [everything(twin)]
    assert 0.4 < torch.cat([(leaf == 0).flatten() for leaf in leaves]).float().mean() < 0.6
    event = lines(tmp_path)[0]
    assert (event["event"], event["task"], event["method"], event["batches"]) == ("prepare", "a", "toy-largest", 8)


def test_prepare_of_several_tasks_is_of_each_by_its_own_data(tmp_path: Path) -> None:
    method = Largest(rank=2, init="normal")
    train_together(team(method), sets(), QUICK, folder=tmp_path)
    said = [(line["task"], line["batches"]) for line in lines(tmp_path) if line["event"] == "prepare"]
    assert said == [("a", 6), ("b", 4), ("c", 2)]
    together = team(method)
    train_together(
        together, images(), QUICK.model_copy(update={"select_by": "loss"}), objective=losses, collate=collate
    )
    assert all(parameter.grad is None for parameter in together.parameters())


@dataclass(frozen=True)
class Meddling(LoRA):
    """Passes of selection that there cannot be."""

    what: str = ""
    name: ClassVar[str] = "toy-meddling"

    def prepare(self, task: Task, batches: Iterable[Any], score: Callable[[Any], Tensor]) -> None:
        for batch in batches:
            score(batch).sum().backward()
        if self.what == "interrupt":
            factors(task)[0].data.zero_()
            raise KeyboardInterrupt
        if self.what == "new":
            task.register_buffer("mask", torch.ones(3))
        if self.what == "hidden":
            task.register_buffer("mask", torch.ones(3), persistent=False)
        if self.what == "freeze":
            factors(task)[0].requires_grad_(False)
        if self.what == "larger":
            factors(task)[0].data = torch.zeros(9, 9)
        if self.what == "double":
            factors(task)[0].data = factors(task)[0].data.double()
        if self.what == "parameter":
            head = task.head
            head.weight = torch.nn.Parameter(head.weight.detach().clone())  # type: ignore[union-attr]
        if self.what == "module":
            task.head = torch.nn.Linear(6, 2)
        if self.what == "backbone":
            OTHERS[0].get_parameter("backbone.1.weight").data[0, 0] += 1
        if self.what == "layer":
            OTHERS[0].backbone[1] = copy.deepcopy(OTHERS[0].backbone[1])  # type: ignore[index,operator]
        if self.what == "elsewhere":
            with torch.no_grad():
                OTHERS[0]["b"].get_parameter("head.bias").add_(1)


OTHERS: list[MultiTask] = []


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("new", r"prepare of method 'toy-meddling' must leave the task's tensors as many.*changed 'a/mask'"),
        ("elsewhere", r"prepare of method 'toy-meddling' has written to 'tasks.b.head.bias'"),
        ("hidden", r"prepare of method 'toy-meddling' has registered a tensor, 'tasks.a.mask'"),
        ("freeze", r"prepare of method 'toy-meddling' has frozen 'tasks\.a\.sites\..*', which .* say by phases"),
        ("larger", r"must leave the task's tensors as many.*changed 'a/sites.*, \(.*\) before and \(9, 9, .*\) now"),
        ("double", r"must leave the task's tensors as many.*torch.float32.*before and .*torch.float64"),
        ("parameter", r"has put another tensor in the place of 'tasks.a.head.weight'"),
        ("module", r"has put another module in the place of 'tasks.a.head'"),
        ("backbone", r"has written to 'backbone.1.weight'"),
        ("layer", r"has put another module in the place of 'backbone.1'"),
    ],
)
def test_prepare_may_not_leave_what_a_checkpoint_would_not_hold(what: str, message: str) -> None:
    model = team(Meddling(rank=2, what=what))
    OTHERS[:] = [model]
    begun = {key: (id(tensor), tensor.requires_grad, tensor.shape) for key, tensor in model.named_parameters()}
    with pytest.raises(ValueError, match=message):
        train_task(model, "a", points("a", 20), points("a", 7), Settings(epochs=1))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert {key: (id(p), p.requires_grad, p.shape) for key, p in model.named_parameters()} == begun


def test_an_interrupted_prepare_leaves_the_task_as_it_was() -> None:
    model = team(Meddling(rank=2, what="interrupt"))
    before = everything(model)
    with pytest.raises(KeyboardInterrupt):
        train_task(model, "a", points("a", 20), points("a", 7), Settings(epochs=1))
    assert everything(model) == before
    assert (model.training, model.progress) == (False, 1.0)
    assert all(parameter.grad is None for parameter in model.parameters())


@dataclass(frozen=True)
class Shifting(LoRA):
    """A pass of selection that writes into buffers, and looks at nothing."""

    name: ClassVar[str] = "toy-shifting"

    def prepare(self, task: Task, batches: Iterable[Any], score: Callable[[Any], Tensor]) -> None:
        for buffer in task.buffers():
            if buffer.is_floating_point():
                buffer.add_(3.0)


def test_what_prepare_writes_into_buffers_is_part_of_the_state(tmp_path: Path) -> None:
    method = Shifting(rank=2, norm=True, statistics="own")
    settings = Settings(epochs=1, batch_size=5, reestimate_norm=False, log_every=1)
    data = points("a", 20), points("a", 7)
    whole, other = team(method, norm=True), team(method, norm=True, seed=3)
    train_task(whole, "a", *data, settings)

    def interrupted(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        if model.training:
            raise KeyboardInterrupt
        return classification().loss(model, batch, tasks)

    by_loss = settings.model_copy(update={"select_by": "loss"})
    with pytest.raises(KeyboardInterrupt):
        train_task(team(method, norm=True), "a", *data, by_loss, objective=interrupted, folder=tmp_path)
    later = train_task(other, "a", *data, by_loss, folder=tmp_path)
    assert later.resumed
    assert [line["event"] for line in lines(tmp_path)].count("prepare") == 1
    own = {key: value for key, value in everything(whole).items() if key.startswith("tasks.a.")}
    assert own.items() <= everything(other).items()
    means = [buffer for key, buffer in other["a"].named_buffers() if key.endswith("running_mean")]
    assert means
    assert all((mean > 1.0).all() for mean in means)

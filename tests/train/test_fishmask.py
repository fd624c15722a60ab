"""The pass of FISH Mask: its choice against one by hand, what it refuses, and its files."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskfold import FishMask, MultiTask, TaskFileError
from taskfold.layers import parts_of
from taskfold.methods import method_of
from taskfold.tasks import read, write
from taskfold.train import Settings, train_task

from .by_hand import lines
from .classes import classification
from .joint import everything, points, team

NUMBERS = 12 * 8 + 8 + 8 * 6 + 6
SHARE = 0.1
COUNT = 15


def own(model: MultiTask, name: str = "a") -> Any:
    return next(part.own for _, part in parts_of(model[name]))


def by_hand(model: MultiTask, samples: int, data: Any) -> Tensor:
    """The places with the largest sums of squared gradients, one example at a time."""
    net, head = copy.deepcopy(model.backbone).requires_grad_(True), model["a"].head
    total = torch.zeros(NUMBERS)
    for x, y in [data[n] for n in range(samples)]:
        loss = F.cross_entropy(head(net(x[None])), y[None])  # type: ignore[misc]
        gradients = torch.autograd.grad(loss, [*net.parameters()])
        total += torch.cat([gradient.flatten() for gradient in gradients]).square()
    return total.topk(COUNT).indices.sort().values


def test_the_pass_chooses_the_largest_fisher_information_of_the_network(tmp_path: Path) -> None:
    model = team(FishMask(SHARE, samples=None))
    wanted = by_hand(model, 20, points("a", 20))
    even = torch.arange(COUNT) * NUMBERS // COUNT
    assert torch.equal(own(model)["places"], even)
    assert not torch.equal(wanted, even)
    begun = everything(model)
    settings = Settings(epochs=1, batch_size=6, select_by="loss", reestimate_norm=False)
    train_task(model, "a", points("a", 20), points("a", 7, 1), settings, folder=tmp_path)
    assert torch.equal(own(model)["places"], wanted)
    assert own(model)["values"].all()
    after = everything(model)
    assert all((begun[key] != after[key]) == key.startswith("tasks.a.") for key in begun)
    event = lines(tmp_path)[0]
    assert (event["event"], event["method"], event["batches"]) == ("prepare", "fishmask", 20)


def test_a_pass_of_some_samples_sees_no_others_and_a_trained_task_keeps_its_places() -> None:
    model = team(FishMask(SHARE, samples=8))
    data, task = points("a", 20), model["a"]
    given: list[int] = []

    def score(batch: tuple[Tensor, Tensor]) -> Tensor:
        given.append(len(batch[0]))
        return F.cross_entropy(model(batch[0], task="a"), batch[1], reduction="none")

    inputs, targets = data.tensors
    batches = [(inputs[n : n + 5], targets[n : n + 5]) for n in range(0, 20, 5)]
    method_of(task).prepare(task, batches, score)
    assert given == [5, 5]
    assert torch.equal(own(model)["places"], by_hand(model, 8, data))
    chosen = own(model)["places"].clone()
    nn.init.ones_(own(model)["values"])
    method_of(task).prepare(task, batches[2:], score)
    assert torch.equal(own(model)["places"], chosen)
    assert len(given) == 2


def test_a_pass_without_data_or_gradients_is_an_error_by_name() -> None:
    model = team(FishMask(SHARE))
    task, before = model["a"], everything(model)
    with pytest.raises(ValueError, match="Fisher pass of task 'a' found no sample with a target for it; give it"):
        method_of(task).prepare(task, [], lambda batch: batch)
    x = torch.randn(2, 3, 2, 2)
    for factor, what in ((0.0, "zero everywhere"), (float("nan"), "not finite")):
        with pytest.raises(ValueError, match=f"Fisher information of task 'a' is {what}; see to its loss"):
            method_of(task).prepare(task, [x], lambda x, factor=factor: factor * model(x, task="a").sum(1))
    assert everything(model) == before
    assert not any(part.probes for _, part in parts_of(task))  # type: ignore[attr-defined]


def test_a_training_that_is_interrupted_goes_on_with_the_places_that_were_chosen(tmp_path: Path) -> None:
    settings = Settings(epochs=1, batch_size=5, log_every=1, select_by="loss", reestimate_norm=False)
    data, method = (points("a", 20), points("a", 7)), FishMask(SHARE, samples=7)
    whole, other = team(method), team(method)
    train_task(whole, "a", *data, settings)

    def interrupted(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        if model.training:
            raise KeyboardInterrupt
        return classification().loss(model, batch, tasks)

    with pytest.raises(KeyboardInterrupt):
        train_task(team(method), "a", *data, settings, objective=interrupted, folder=tmp_path)
    assert train_task(other, "a", *data, settings, folder=tmp_path).resumed
    assert [line["event"] for line in lines(tmp_path)].count("prepare") == 1
    assert everything(other) == everything(whole)
    assert not torch.equal(own(other)["places"], own(other, "b")["places"])


def test_a_file_holds_four_bytes_for_a_place_and_refuses_others(tmp_path: Path) -> None:
    model, path = team(FishMask(SHARE)), tmp_path / "a.safetensors"
    with torch.no_grad():
        own(model)["places"].copy_(torch.arange(NUMBERS - COUNT, NUMBERS))
        own(model)["values"].normal_()
    model.save_task("a", path)
    contents = read(path)
    name = next(key for key in contents.tensors if key.endswith("places"))
    assert contents.tensors[name].dtype == torch.uint32
    assert contents.header["stored"] == {name: {"as": "indices", "shape": [COUNT], "below": NUMBERS}}
    other = MultiTask(model.backbone, num_features=6)
    other.load_task(path)
    x = torch.randn(4, 3, 2, 2)
    assert torch.equal(other(x, task="a"), model(x, task="a"))
    assert not torch.equal(other(x, task="a"), other["a"].head(model.backbone(x)))  # type: ignore[misc]
    header = {key: v for key, v in contents.header.items() if key not in ("digest", "format_version")}
    places = contents.tensors[name].long()
    for odd, message in (
        (places.flip(0).to(torch.uint32), "must hold ascending places from 0 to 157, each once"),
        ((places + 1).to(torch.uint32), "must hold ascending places from 0 to 157"),
        (places, r"is \[15\] of torch.int64, and \[15\] of torch.uint32 are needed"),
    ):
        write(path, header, {**contents.tensors, name: odd})
        with pytest.raises(TaskFileError, match=message):
            MultiTask(model.backbone, num_features=6).load_task(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0.0}, "share must be a finite number above 0, at most 1, found 0.0"),
        ({"share": 1.5}, "share must be a finite number above 0, at most 1, found 1.5"),
        ({"samples": 0}, "samples must be a whole number ≥ 1, or none for all, found 0"),
    ],
)
def test_bad_settings_are_named_at_construction(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FishMask(**settings)


def test_a_share_below_one_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share=0.001 of 158 numbers is less than one; raise it"):
        team(FishMask(0.001))

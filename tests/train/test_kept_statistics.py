"""Statistics that training does not move: rows are independent; adapted ones are those of the task's data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold import MultiTask
from taskfold.train import JointSettings, Settings, TaskSet, train_task, train_together
from taskfold.train._statistics import adapt, kept

from .cases import bits, data, make

SIZES = {"a": 4, "b": 2, "c": 1, "d": 1}
"""Tasks and their rows: numbers whose weights are exact."""
METHODS = {
    "head-norm": tfold.HeadNorm(),
    "ftn": tfold.FTN(rank=2),
    "ftn, adapted": tfold.FTN(rank=2, statistics="adapted"),
    "fine-tuning": tfold.FineTuning(),
}
STEPS = 4
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def team(method: tfold.Method) -> MultiTask:
    """A task for each size, on a network whose statistics are of some data, in double precision."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.Tanh()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    for _ in range(10):
        net.train()(torch.randn(16, 3, 8, 8) * 2 + 1)
    model = MultiTask(net.double().eval(), method, num_features=8)
    for name in SIZES:
        model.add_task(name, 3)
    return model.double()


def images(name: str) -> TensorDataset:
    x, targets = data(SIZES[name], seed=ord(name[0])).tensors
    return TensorDataset(x.double(), targets)


def together(method: tfold.Method, *names: str) -> MultiTask:
    """Trained in steps on all rows of these tasks; every task weighs as if it were alone."""
    model, total = team(method), sum(SIZES[name] for name in names)
    sets = {name: TaskSet(images(name), images(name)) for name in names}
    weights = {name: total / SIZES[name] for name in names}
    for _ in range(STEPS):  # one epoch each, since the best of several is the best for all tasks
        train_together(model, sets, JointSettings(epochs=1, batch_size=total, task_weights=weights))
    return model


def alone(method: tfold.Method, name: str) -> MultiTask:
    model = team(method)
    for _ in range(STEPS):
        train_task(model, name, images(name), images(name), Settings(epochs=1, batch_size=SIZES[name]))
    return model


@every_method
def test_a_mixed_batch_trains_its_tasks_as_they_train_alone(method: tfold.Method) -> None:
    start, model = team(method), together(method, *SIZES)
    for name in SIZES:
        found, wanted = model[name].state_dict(), alone(method, name)[name].state_dict()
        assert bits(model, name).keys() == wanted.keys()
        assert bits(model, name) != bits(start, name)
        for key, tensor in wanted.items():
            assert torch.allclose(found[key], tensor, rtol=1e-9, atol=1e-12), key


@every_method
def test_it_does_not_matter_who_shares_the_batch(method: tfold.Method) -> None:
    one, other = together(method, "a", "b", "c"), together(method, "a", "b", "d")
    assert bits(one, "a") == bits(other, "a") != bits(team(method), "a")
    assert bits(one, "b") == bits(other, "b")


@pytest.mark.parametrize("statistics", ["backbone", "adapted"])
def test_batches_of_one_row_train(statistics: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU())
    model = MultiTask(net, tfold.HeadNorm(statistics=statistics), num_features=8)  # type: ignore[arg-type]
    model.add_task("a", 2)
    before, points = bits(model, "a"), TensorDataset(torch.randn(33, 6), torch.arange(33) % 2)
    train_task(model, "a", points, points, Settings(epochs=1, batch_size=1))
    assert bits(model, "a").keys() == before.keys()
    assert not [key for key, held in bits(model, "a").items() if held == before[key]]


def points(norm: nn.Module, method: tfold.Method, head: nn.Module | int = 2) -> MultiTask:
    model = MultiTask(nn.Sequential(nn.Linear(6, 8), norm), method, num_features=8)
    model.add_task("a", head)
    return model


OWN = tfold.HeadNorm(statistics="own")
ON_BATCHES = {
    "own": lambda: points(nn.BatchNorm1d(8), OWN),
    "common": lambda: points(nn.BatchNorm1d(8), tfold.HardSharing()),
    "of the head": lambda: points(
        nn.BatchNorm1d(8), tfold.HeadNorm(), nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 2))
    ),
    "branches": lambda: make("a", method=tfold.RepVGG()),
}


@pytest.mark.parametrize("case", ON_BATCHES)
def test_batch_statistics_want_two_rows(case: str) -> None:
    model = ON_BATCHES[case]()
    rows = data(8) if case == "branches" else TensorDataset(torch.randn(8, 6), torch.arange(8) % 2)
    with pytest.raises(ValueError, match=r"batch_size must be ≥ 2 \(two for each of 1 processes: BatchNorm trains on"):
        train_task(model, "a", rows, rows, Settings(epochs=1, batch_size=1))
    with pytest.raises(ValueError, match=r"the training set must be ≥ 2 .* found 1"):
        train_task(model, "a", TensorDataset(*rows[:1]), rows, Settings(epochs=1))


def test_of_one_row_nothing_is_estimated() -> None:
    model = points(nn.BatchNorm1d(8), tfold.HeadNorm(statistics="adapted"))
    before, point = bits(model, "a"), TensorDataset(torch.randn(1, 6), torch.zeros(1).long())
    with pytest.raises(ValueError, match=r"task 'a': statistics='adapted' cannot be estimated, layer '1': BatchNorm"):
        train_task(model, "a", point, point)
    assert bits(model, "a") == before


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_adapted_statistics_are_those_of_the_data(share: float) -> None:
    model = make("a", "b", method=tfold.HeadNorm(statistics="adapted")).eval()
    inputs = data(30).tensors[0] * 3 + 5
    others, backbone = bits(model, "b"), {key: held.clone() for key, held in model.backbone.state_dict().items()}
    assert adapt(model, "a", inputs.split(10), lambda batch: model(batch, task="a"), share) == 2
    made = model.backbone[0](inputs)  # type: ignore[operator]
    held = kept(model, "a")["1"].held()
    variance = torch.stack([part.var((0, 2, 3)) for part in made.split(10)]).mean(0)
    assert torch.allclose(held["running_mean"], share * made.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(held["running_var"], 1 - share + share * variance, atol=1e-4)
    assert "num_batches_tracked" not in held
    assert not model.training
    assert bits(model, "b") == others
    assert all(torch.equal(held, model.backbone.state_dict()[key]) for key, held in backbone.items())


def test_they_are_as_they_were_if_the_pass_fails() -> None:
    model = make("a", method=tfold.HeadNorm(statistics="adapted"))
    before, inputs = bits(model, "a"), data(20).tensors[0]

    def forward(batch: torch.Tensor) -> None:
        model(batch, task="a")
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        adapt(model, "a", inputs.split(10), forward)
    assert bits(model, "a") == before
    assert kept(model, "a").keys() == {"1", "4"}


@pytest.mark.parametrize("statistics", ["backbone", "adapted", "own"])
def test_training_adapts_before_it_begins_and_keeps_them(statistics: str, tmp_path: Path) -> None:
    method = tfold.HeadNorm(statistics=statistics)  # type: ignore[arg-type]
    model, shifted = make(method=method), TensorDataset(data(40).tensors[0] * 5 + 20, data(40).tensors[1])
    head = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 3))
    model.add_task("a", head)
    settings = Settings(epochs=2, batch_size=8, log_every=1, reestimate_norm=False)
    train_task(model, "a", shifted, shifted, settings, folder=tmp_path)
    said = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    adapted = [line["adapted"] for line in said if line["event"] == "prepare"]
    assert adapted == ([2] if statistics == "adapted" else [])
    assert head[0].num_batches_tracked == 10  # a head's own trains as ever
    means = {key: held for key, held in model["a"].named_buffers() if ".1.0:own." in key and "mean" in key}
    assert len(means) == (statistics != "backbone")
    truth = model.backbone[0](shifted.tensors[0]).mean((0, 2, 3))  # type: ignore[operator]
    for held in means.values():
        assert torch.allclose(held, truth, rtol=1e-3) == (statistics == "adapted")


def test_an_interrupted_run_goes_on_with_them(tmp_path: Path) -> None:
    method = tfold.FTN(rank=2, statistics="adapted")
    settings = Settings(epochs=2, batch_size=8, log_every=1, checkpoint_every=0)
    whole, other = make("a", method=method), make("a", method=method)
    train_task(whole, "a", data(40), data(9, 1), settings)

    class Stopping(TensorDataset):
        seen = 0

        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            Stopping.seen += 1
            if Stopping.seen == 70:  # forty are seen before the first step
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        train_task(other, "a", Stopping(*data(40).tensors), data(9, 1), settings, folder=tmp_path)
    again = make("a", method=method)
    train_task(again, "a", Stopping(*data(40).tensors), data(9, 1), settings, folder=tmp_path)
    assert bits(again, "a") == bits(whole, "a")

"""Packs: tasks that train side by side end as each does by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from taskfold import FTN, HeadNorm, LoRA, Method, MultiTask, Poly
from taskfold.problems import Regression
from taskfold.train import (
    CheckpointError,
    DivergedError,
    OptimizerSettings,
    PackError,
    PackTask,
    PackWarning,
    Result,
    Settings,
    TaskSet,
    train_pack,
    train_task,
)

from .cases import Noisy, bits, data

SIZES = {"a": 30, "b": 19, "c": 24, "d": 12}
QUICK = Settings(batch_size=8, log_every=2, checkpoint_every=0, cache_features="never")


def team(method: Method | None = None, *, dropout: float = 0.0) -> MultiTask:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=0.01), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16, momentum=0.01), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)),
    )
    model = MultiTask(net, method or FTN(rank=2), num_features=16)
    for name in SIZES:
        model.add_task(name, 1 if name == "c" else 3)
    return model


def pack() -> dict[str, PackTask]:
    """Four tasks that have nothing in common: samples, problem, optimiser, epochs, seed, what chooses the epoch."""
    sgd = {"factors": OptimizerSettings(optimizer="sgd", lr=0.01)}
    settings = {
        "a": QUICK.model_copy(update={"epochs": 3}),
        "b": QUICK.model_copy(update={"epochs": 5, "patience": 1, "seed": 3, "select_by": "loss"}),
        "c": QUICK.model_copy(update={"epochs": 2, "batch_size": 5, "optimizers": sgd}),
        "d": QUICK.model_copy(update={"max_steps": 7, "clip_norm": 0.5, "reestimate_norm": False}),
    }
    sets = {name: TaskSet(Noisy(data(size, n)), data(20, n + 9)) for n, (name, size) in enumerate(SIZES.items())}
    numbers = [TensorDataset(x, y[:, None].float()) for x, y in (data(24, 2).tensors, data(9, 11).tensors)]
    sets["c"] = TaskSet(*numbers)
    more: dict[str, Any] = {"c": {"problem": Regression()}}
    return {name: PackTask(sets[name], settings[name], **more.get(name, {})) for name in SIZES}


def alone(model: MultiTask, tasks: Mapping[str, PackTask]) -> dict[str, Result]:
    return {
        name: train_task(model, name, one.data.train, one.data.val, one.settings, quiet=True, problem=one.problem)
        for name, one in tasks.items()
    }


def curves(results: Mapping[str, Result]) -> dict[str, Any]:
    """All that is no time."""
    clock = ("seconds", "samples_per_second")
    return {
        name: [{key: value for key, value in point.items() if key not in clock} for point in result.curve]
        for name, result in results.items()
    }


@pytest.mark.parametrize(
    "method", [FTN(rank=2), LoRA(rank=2, init="normal")], ids=["own statistics", "kept statistics"]
)
def test_a_pack_comes_to_what_each_task_comes_to_by_itself(method: Method) -> None:
    model, mixed, single = team(method), team(method), team(method)
    expected, tasks = alone(model, pack()), pack()
    order: list[str] = []
    results = train_pack(mixed, tasks, finished=lambda name, result: order.append(name))
    assert [*results] == [*SIZES]
    assert sorted(order) == [*SIZES]
    assert order != [*SIZES]  # as each ends
    for name, one in expected.items():
        assert results[name].best_epoch == one.best_epoch
        assert [point["step"] for point in results[name].curve] == [point["step"] for point in one.curve]
        for key, tensor in model[name].state_dict().items():
            torch.testing.assert_close(mixed[name].state_dict()[key], tensor, rtol=1e-3, atol=1e-4)
        assert mixed[name].info.metrics.keys() == model[name].info.metrics.keys()
    # Where every step passes by itself the bits are the same.
    assert curves(train_pack(single, pack(), rows=1)) == curves(expected)
    assert all(bits(single, name) == bits(model, name) for name in SIZES)


def test_rows_of_many_tasks_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = team(), list[list[str]]()
    forward = MultiTask.forward

    def noted(self: MultiTask, *args: Any, task: Any, **more: Any) -> Any:
        if self.training and torch.is_grad_enabled():
            seen.append([task] if isinstance(task, str) else [*dict.fromkeys(task)])
        return forward(self, *args, task=task, **more)

    monkeypatch.setattr(MultiTask, "forward", noted)
    train_pack(model, pack(), rows=24)
    assert seen[0] == ["a", "b", "c"]  # 8 + 8 + 5 rows; d begins when one of them has ended
    assert ["d"] in [one[-1:] for one in seen]
    assert len(seen) < 30  # 12 + 15 + 10 + 7 steps


class Killed(BaseException):
    """What a kill looks like from inside of a process."""


class Deadly(Noisy):
    """Ends the program when it has given so many samples."""

    def __init__(self, data: TensorDataset, after: int) -> None:
        super().__init__(data)
        self.after = after

    def __getitem__(self, index: int) -> Any:
        self.after -= 1
        if not self.after:
            raise Killed
        return super().__getitem__(index)


@pytest.mark.parametrize("every", [0, 1e9], ids=["at every step", "when a task ends"])
def test_a_killed_pack_goes_on_and_ends_in_the_same_bits(tmp_path: Path, every: float) -> None:
    settings = Settings(batch_size=8, log_every=3, checkpoint_every=every)
    sizes = {"a": 30, "b": 19, "d": 24}

    def tasks(after: int) -> dict[str, PackTask]:
        found = {
            name: PackTask(
                TaskSet(Noisy(data(size, n)), data(12, n + 9)), settings.model_copy(update={"epochs": 2 + n})
            )
            for n, (name, size) in enumerate(sizes.items())
        }
        last = TaskSet(Deadly(data(24, 2), after), data(12, 11))
        return {**found, "d": PackTask(last, settings.model_copy(update={"epochs": 4}))}

    def trained(folder: Path, *kills: int) -> tuple[MultiTask, dict[str, Result]]:
        for after in kills:
            with pytest.raises(Killed):
                train_pack(team(HeadNorm()), tasks(after), rows=17, folder=folder)
        model = team(HeadNorm())
        return model, train_pack(model, tasks(10**6), rows=17, folder=folder)

    whole, expected = trained(tmp_path / "whole")
    # Two at a time: d begins when a has ended, and is asked for a few samples before it trains.
    killed, results = trained(tmp_path / "killed", 20, 61, 15)
    assert curves(results) == curves(expected)
    assert results["d"].resumed
    assert [bits(killed, name) for name in sizes] == [bits(whole, name) for name in sizes]
    assert not [*(tmp_path / "killed").glob("pack*")]
    logs = [(tmp_path / kind / "b" / "log.jsonl").read_text().splitlines() for kind in ("whole", "killed")]
    assert len(logs[0]) == len(logs[1])
    # What is finished is read, and not trained again.
    read = team(HeadNorm())
    assert curves(train_pack(read, tasks(1), rows=17, folder=tmp_path / "killed")) == curves(results)
    assert [bits(read, name) for name in sizes] == [bits(whole, name) for name in sizes]
    other = {**tasks(1), "a": PackTask(tasks(1)["a"].data, settings.model_copy(update={"epochs": 9}))}
    with pytest.raises(PackError, match=r"task 'a'.*settings\.epochs was 2, is now 9") as caught:
        train_pack(team(HeadNorm()), other, rows=17, folder=tmp_path / "killed")
    assert isinstance(caught.value.errors["a"], CheckpointError)
    assert [*caught.value.results] == ["b", "d"]


def test_a_task_that_fails_leaves_the_others_alone() -> None:
    model, whole, tasks = team(LoRA(rank=2)), team(LoRA(rank=2)), pack()
    settings = QUICK.model_copy(update={"max_steps": 4})
    good = {name: PackTask(tasks[name].data, settings, problem=tasks[name].problem) for name in "bd"}
    train_pack(whole, good, rows=16)
    images, targets = data(30).tensors
    wild = TaskSet(TensorDataset(images * torch.nan, targets), data(9))
    wrong = TaskSet(TensorDataset(images, targets + 5), data(9))
    bad = {"a": PackTask(wild, settings), "c": PackTask(wrong, settings)}
    with pytest.raises(PackError) as caught:
        train_pack(model, {"b": good["b"], **bad, "d": good["d"]}, rows=64)
    assert isinstance(caught.value.errors["a"], DivergedError)
    assert "task 'c'" in str(caught.value.errors["c"])
    assert [*caught.value.results] == ["b", "d"]
    for name in "bd":
        for key, tensor in whole[name].state_dict().items():
            torch.testing.assert_close(model[name].state_dict()[key], tensor, rtol=1e-3, atol=1e-4)


def test_what_cannot_share_passes_trains_by_itself_and_is_said() -> None:
    tasks = {
        name: PackTask(one.data, QUICK.model_copy(update={"epochs": 1})) for name, one in pack().items() if name != "c"
    }
    model, single = team(dropout=0.2), team(dropout=0.2)
    with pytest.warns(PackWarning, match="'a', 'b', 'd' cannot share passes .*random numbers"):
        train_pack(model, tasks)
    alone(single, tasks)
    assert all(bits(model, name) == bits(single, name) for name in tasks)
    odd = {**tasks, "a": PackTask(TaskSet(data(30), data(9)), QUICK.model_copy(update={"epochs": 1, "folds": 2}))}
    with pytest.warns(PackWarning, match="'a' cannot share passes .*folds=2"):
        train_pack(team(), odd)
    shared = team(Poly(rank=2, skills=2))
    with pytest.raises(ValueError, match="task 'a' rests on shared factors"):
        train_pack(shared, tasks)


@pytest.mark.parametrize(
    ("tasks", "more", "words"),
    [
        ({}, {}, "tasks is empty"),
        ({"a": PackTask(TaskSet(data(8), data(8)))}, {"rows": 0}, "rows must be a whole number ≥ 1, found 0"),
        ({"x": PackTask(TaskSet(data(8), data(8)))}, {}, "'x'"),
    ],
)
def test_refused(tasks: dict[str, PackTask], more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        train_pack(team(), tasks, **more)

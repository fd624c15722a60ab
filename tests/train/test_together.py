"""Joint training: what it moves, what it does not, and the mathematics of a step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from taskfold import LoRA, Method, MultiTask, Poly, TensorPolyI
from taskfold.evaluate import evaluate
from taskfold.train import (
    CheckpointError,
    DivergedError,
    JointSettings,
    OptimizerSettings,
    TaskSet,
    group_rates,
    train_task,
    train_together,
)

from .joint import ONE_STEP, PRIVATE, QUICK, SHARED, SIZES, Watching, everything, points, sets, team

OPTIMISERS = {
    "sgd": OptimizerSettings(optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.1),
    "adam": OptimizerSettings(optimizer="adam", lr=0.05, weight_decay=0.1),
    "adamw": OptimizerSettings(optimizer="adamw", lr=0.05, weight_decay=0.1),
    "adafactor": OptimizerSettings(optimizer="adafactor", lr=0.05, weight_decay=0.1),
}


METHODS = {
    "shared": SHARED,
    "private": PRIVATE,
    "norm": LoRA(rank=2, norm=True),
    "poly": Poly(rank=2, skills=3),
    "tensor-poly": TensorPolyI(rank=2, tensor_rank=2, order=2, norm=True),
}


def quick(**changes: Any) -> JointSettings:
    return QUICK.model_copy(update=changes)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_step_moves_nothing_of_tasks_that_are_not_in_its_batch(method: Method, optimiser: OptimizerSettings) -> None:
    model, watching = team(method, norm=method.norm), Watching()
    optimizers = dict.fromkeys(group_rates(model, list(SIZES)), optimiser)
    steps = {"batch_size": 2, "max_steps": 24, "steps_per_epoch": 24, "sampling": "uniform", "schedule": "constant"}
    settings = quick(optimizers=optimizers, **steps, clip_norm=1.0, select_by="loss", reestimate_norm=False)
    train_together(model, sets(), settings, objective=watching)
    absent = dict.fromkeys(SIZES, 0)
    for names, moved in watching.moved():
        for name in SIZES:
            mine = {key for key in moved if key.startswith(f"tasks.{name}.")}
            assert bool(mine) == (name in names)
            absent[name] += name not in names
    # Momentum and moments had been gathered by then: every task was there before it was away.
    assert min(absent.values()) > 5


def test_a_step_is_along_the_gradient_of_the_mean_over_the_batch() -> None:
    model, oracle = team(), team()
    train_together(model, sets(), ONE_STEP)
    losses = {name: loss(oracle, name) * size for name, size in SIZES.items()}
    (sum(losses.values()) / 37).backward()  # type: ignore[union-attr]
    assert_stepped(model, oracle)


def test_task_weights_are_factors_on_the_losses() -> None:
    weights = {"a": 0.0, "c": 3.0}
    model, oracle, start = team(), team(), team()
    train_together(model, sets(), ONE_STEP.model_copy(update={"task_weights": weights}))
    losses = {name: loss(oracle, name) * size * weights.get(name, 1.0) for name, size in SIZES.items()}
    (sum(losses.values()) / 37).backward()  # type: ignore[union-attr]
    assert_stepped(model, oracle)
    assert torch.equal(model["a"].head.weight, start["a"].head.weight)  # type: ignore[union-attr]


def assert_stepped(model: MultiTask, oracle: MultiTask) -> None:
    found, start = dict(model.named_parameters()), dict(oracle.named_parameters())
    stepped = {key: p - 0.1 * p.grad for key, p in start.items() if p.grad is not None}
    assert {key.split(".")[0] for key in stepped} == {"tasks", "inventory"}
    for key, wanted in stepped.items():
        torch.testing.assert_close(found[key], wanted, rtol=1e-4, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


def loss(model: MultiTask, name: str) -> Tensor:
    """A task's mean training loss, by itself."""
    inputs, targets = points(name, SIZES[name]).tensors
    return F.cross_entropy(model.train()(inputs, task=name), targets)


def test_it_learns_and_ends_with_the_weights_that_validation_prefers() -> None:
    model, sizes = team(), {"a": 80, "b": 40, "c": 60}
    data = {name: TaskSet(points(name, size), points(name, 30, 1)) for name, size in sizes.items()}
    before = [evaluate(model, name, one.val).loss for name, one in data.items()]
    fast = dict.fromkeys(("factors", "head"), OptimizerSettings(lr=2e-2))
    result = train_together(model, data, quick(epochs=8, select_by="loss", optimizers=fast))
    for name, one in data.items():
        found = evaluate(model, name, one.val)
        assert found.loss == pytest.approx(result.tasks[name]["val_loss"], rel=1e-5)
        assert found.accuracy == result.tasks[name]["val_accuracy"]
        assert model[name].info.metrics == {**result.tasks[name], "epoch": result.best_epoch}
    for key in ("val_loss", "val_accuracy"):
        assert result.best[key] == pytest.approx(sum(found[key] for found in result.tasks.values()) / 3)
    assert result.best["val_loss"] < 0.85 * sum(before) / 3
    assert result.best["val_loss"] == min(point["val_loss"] for point in result.curve)
    last = result.curve[-1]
    assert last["train_loss"] == pytest.approx(
        sum(last["tasks"][name]["train_loss"] * size for name, size in sizes.items()) / 180, rel=0.05
    )
    assert not model.training
    json.dumps(result.as_json())


def test_with_its_own_normalisation_each_task_keeps_the_statistics_that_it_prefers() -> None:
    model = team(LoRA(rank=2, norm=True, statistics="own"), norm=True)
    data = sets()
    misleading = TensorDataset(points("b", 12).tensors[0] * 100, points("b", 12).tensors[1])
    data["b"] = TaskSet(data["b"].train, data["b"].val, plain=misleading)
    shifted = TensorDataset(points("a", 20).tensors[0] * 5 + 20, points("a", 20).tensors[1])
    data["a"] = TaskSet(shifted, shifted)
    result = train_together(model, data, quick(epochs=2, select_by="loss", norm_momentum=None))
    assert result.tasks["a"]["reestimated"]
    assert not result.tasks["b"]["reestimated"]
    for name, one in data.items():
        assert evaluate(model, name, one.val).loss == pytest.approx(result.tasks[name]["val_loss"], rel=1e-5)


def test_only_the_listed_tasks_and_what_they_share_move() -> None:
    model = team()
    model.add_task("apart", 2, method=PRIVATE)
    before = everything(model)
    train_together(model, sets(), quick(epochs=1, optimizers={"factors": OPTIMISERS["adamw"]}))
    after = everything(model)
    assert {key.split(".")[0] for key in before if before[key] != after[key]} == {"tasks", "inventory"}
    assert all(before[key] == after[key] for key in before if key.startswith(("tasks.apart.", "backbone.")))
    assert all(before[key] != after[key] for key in before if key.startswith(("tasks.a.", "inventory.")))


def test_steps_instead_of_epochs() -> None:
    result = train_together(team(), sets(), quick(max_steps=7, steps_per_epoch=3, sampling="uniform"))
    assert [point["step"] for point in result.curve] == [3, 6, 7]
    alone = train_task(team(PRIVATE), "a", points("a", 20), points("a", 7, 1), quick(max_steps=7, steps_per_epoch=3))
    assert [point["step"] for point in alone.curve] == [3, 6, 7]


class Broken(Dataset[Any]):
    """Not a number, or an interruption, when some sample is asked for in some epoch."""

    def __init__(self, data: TensorDataset, epoch: int, index: int, error: type[BaseException] | None = None) -> None:
        self.data, self.when, self.error, self.epoch = data, (epoch, index), error, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, target = self.data[index]
        if (self.epoch, index) != self.when:
            return image, target
        if self.error is not None:
            raise self.error
        return image * float("nan"), target


@pytest.mark.parametrize("when", [(0, 3), (1, 7), (2, 0)])
@pytest.mark.parametrize("method", [SHARED, METHODS["tensor-poly"]], ids=["shared", "tensor-poly"])
def test_an_interrupted_run_goes_on_to_the_same_bits(method: Method, when: tuple[int, int], tmp_path: Path) -> None:
    whole, model = team(method, norm=True), team(method, norm=True)
    settings = quick(log_every=1, sampling="temperature", temperature=2.0)
    result = train_together(whole, sets(), settings)
    interrupted = sets() | {"b": TaskSet(Broken(points("b", 12), *when, KeyboardInterrupt), points("b", 7, 1))}
    with pytest.raises(KeyboardInterrupt):
        train_together(model, interrupted, settings, folder=tmp_path)
    assert all(parameter.grad is None for parameter in model.parameters())
    other = team(method, norm=True, seed=3)
    later = train_together(other, sets(), settings, folder=tmp_path)
    assert later.resumed
    assert everything(other) == everything(whole)
    assert later.best == result.best
    again = train_together(team(method, norm=True, seed=4), sets(), settings, folder=tmp_path)
    assert again.as_json() == later.as_json()


def test_a_loss_that_is_no_number_names_its_task_and_loses_nothing() -> None:
    model, start = team(), everything(team())
    data = sets() | {"b": TaskSet(Broken(points("b", 12), 0, 3), points("b", 7, 1))}
    with pytest.raises(
        DivergedError, match=r"^task 'b': the loss is nan at step \d+ .*factors.*try a third of what was set .*factors"
    ):
        train_together(model, data, QUICK)
    assert everything(model) == start


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    train_together(team(), sets(), quick(epochs=1), folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"settings\.sampling was 'proportional', is now 'uniform'"):
        train_together(team(), sets(), quick(epochs=1, sampling="uniform"), folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"tasks\.c\.samples\.plain was 5, is now 6"):
        train_together(team(), sets(SIZES | {"c": 6}), quick(epochs=1), folder=tmp_path)


def test_any_samples_with_an_objective_of_ones_own() -> None:
    """Token sequences of any length, as dictionaries; the backbone's output is the task's."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))
    model = MultiTask(net, LoRA(rank=2, sharing="shared"))
    texts = {name: [torch.randint(1, 9, (length,)) for length in (3, 5, 2, 4)] for name in ("x", "y")}
    for name in texts:
        model.add_task(name)

    def collate(samples: list[Tensor]) -> dict[str, Any]:
        return {"ids": nn.utils.rnn.pad_sequence(samples, batch_first=True), "lengths": [len(s) for s in samples]}

    def objective(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        logits = model(batch["ids"], task=list(tasks))
        each = F.cross_entropy(logits.transpose(1, 2), batch["ids"], ignore_index=0, reduction="none")
        return each.sum(1) / torch.tensor(batch["lengths"])

    def total(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        return objective(model, batch, tasks).sum()

    def measure(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Mapping[str, Tensor]:
        right = (model(batch["ids"], task=list(tasks)).argmax(2) == batch["ids"]) | (batch["ids"] == 0)
        return {"loss": objective(model, batch, tasks), "accuracy": right.all(1)}

    data: dict[str, TaskSet] = {name: TaskSet(found, found) for name, found in texts.items()}  # type: ignore[arg-type]
    settings = quick(batch_size=3, optimizers={"factors": OptimizerSettings(lr=0.1)}, epochs=8)
    result = train_together(
        model, data, settings.model_copy(update={"select_by": "loss"}), objective=objective, collate=collate
    )
    assert set(result.tasks["x"]) == {"val_loss", "reestimated"}
    assert result.best["val_loss"] < 0.7 * result.curve[0]["val_loss"]
    found = train_together(model, data, settings, objective=objective, measure=measure, collate=collate)
    with torch.no_grad():
        right = [bool((model(t[None], task="x").argmax(2)[0] == t).all()) for t in texts["x"]]
    assert found.tasks["x"]["val_accuracy"] == sum(right) / 4
    by_accuracy = settings.model_copy(update={"select_by": "accuracy"})
    with pytest.raises(ValueError, match=r"select_by='accuracy' needs measure.*returned \['loss'\]"):
        train_together(model, data, by_accuracy, objective=objective, collate=collate)
    with pytest.raises(ValueError, match=r"one loss per sample, \[3\], found \[\]"):
        train_together(
            model, data, settings, objective=lambda *a: objective(*a).mean(), measure=measure, collate=collate
        )


def test_what_cannot_work_says_so() -> None:
    data = sets()
    with pytest.raises(ValueError, match=r"task 'c' stands on the shared factors.*train it along"):
        train_together(team(), {"a": data["a"], "b": data["b"]}, QUICK)
    with pytest.raises(ValueError, match="'d' is not known"):
        train_together(team(), {"d": data["a"]}, QUICK)
    with pytest.raises(ValueError, match="train of task 'b' is empty"):
        train_together(team(), data | {"b": TaskSet(TensorDataset(torch.ones(0)), data["b"].val)}, QUICK)
    with pytest.raises(ValueError, match=r"task_weights names 'aa'.*did you mean 'a'"):
        train_together(team(), data, quick(task_weights={"aa": 1.0}))
    with pytest.raises(ValueError, match="tasks is empty"):
        train_together(team(), {}, QUICK)
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1 is for images .* has a loss of its own"):
        train_together(team(), data, quick(label_smoothing=0.1), objective=Watching())
    model = team()
    model.add_task("none", method=PRIVATE).requires_grad_(False)
    with pytest.raises(ValueError, match="'none' has no trainable parameter"):
        train_together(model, {"none": data["a"]}, QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampling": "temperature"},
        {"temperature": 2.0},
        {"sampling": "temperature", "temperature": 0.0},
        {"cap": 0},
        {"task_weights": {"a": -1.0}},
        {"task_weights": {"a": float("nan")}},
        {"balance": "sum"},
        {"max_steps": 0},
        {"steps_per_epoch": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if "sampling" not in wrong else "temperature"):
        JointSettings.model_validate(wrong)

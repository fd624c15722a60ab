"""Training and measuring tasks whose outputs are not classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold.evaluate import score
from taskfold.problems import Classification, MultiLabel, Ordinal, Problem, Regression, TargetError
from taskfold.train import (
    CheckpointError,
    JointSettings,
    OptimizerSettings,
    Settings,
    TaskSet,
    train_task,
    train_together,
)

FAST = {"factors": OptimizerSettings(lr=0.02), "head": OptimizerSettings(lr=0.05)}
SETTINGS = Settings(epochs=12, batch_size=16, optimizers=FAST)


def model(**heads: int) -> tfold.MultiTask:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = tfold.MultiTask(nn.Sequential(nn.Linear(4, 12), nn.Tanh()), tfold.LoRA(rank=2), num_features=12)
        for name, outputs in heads.items():
            made.add_task(name, head=outputs)
    return made


X = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
NUMBERS = TensorDataset(X, X.sum(1))
LABELS = TensorDataset(X, (X[:, :3] > 0).float())
LEVELS = TensorDataset(X, X.sum(1).div(1.5).round().clamp(-2, 2).add(2).long())


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, nn.HuberLoss(), nn.SmoothL1Loss()])
def test_a_loss_of_numbers_is_enough(loss: Any) -> None:
    """Targets `[B]` beside outputs `[B, 1]` are compared one by one, not all with all."""
    made = model(sum=1)
    before = score(made, "sum", NUMBERS, Regression())
    result = train_task(made, "sum", NUMBERS, NUMBERS, SETTINGS, loss=loss)
    found = score(made, "sum", NUMBERS, Regression())
    assert found["r2"] > 0.8 > before["r2"]
    assert result.best["val_mae"] == pytest.approx(found["mae"], rel=1e-4)
    assert "val_accuracy" not in result.best


def test_several_numbers_have_an_output_each() -> None:
    made, data = model(two=2), TensorDataset(X, X[:, :2])
    train_task(made, "two", data, data, SETTINGS, problem=Regression(columns=("a", "b")))
    assert {"r2", "mae", "mae a", "mae b"} <= score(made, "two", data, Regression(columns=("a", "b"))).keys()


def test_labels_and_levels(tmp_path: Path) -> None:
    made = model(labels=3, levels=5)
    train_task(made, "labels", LABELS, LABELS, SETTINGS, loss=F.binary_cross_entropy_with_logits, folder=tmp_path)
    assert score(made, "labels", LABELS, MultiLabel())["macro_f1"] > 0.8
    result = train_task(made, "levels", LEVELS, LEVELS, SETTINGS, problem=Ordinal())
    found = score(made, "levels", LEVELS, Ordinal())
    assert found["kappa"] > 0.7
    assert result.best["val_levels_off"] == pytest.approx(found["levels_off"], rel=1e-4)


def test_a_run_goes_on_with_its_problem_alone(tmp_path: Path) -> None:
    first = train_task(model(sum=1), "sum", NUMBERS, NUMBERS, SETTINGS, problem=Regression(), folder=tmp_path)
    again = train_task(model(sum=1), "sum", NUMBERS, NUMBERS, SETTINGS, problem=Regression(), folder=tmp_path)
    assert again.resumed
    assert again.best == first.best
    with pytest.raises(CheckpointError, match="problem"):
        train_task(model(sum=1), "sum", NUMBERS, NUMBERS, SETTINGS, problem=Regression(loss="mae"), folder=tmp_path)


def test_tasks_of_different_problems_train_together_and_answer_in_their_shapes() -> None:
    made = model(sum=1, labels=3, levels=5)
    tasks = {"sum": TaskSet(NUMBERS, NUMBERS), "labels": TaskSet(LABELS, LABELS), "levels": TaskSet(LEVELS, LEVELS)}
    problems: dict[str, Problem] = {"sum": Regression(), "labels": MultiLabel(), "levels": Ordinal()}
    result = train_together(made, tasks, JointSettings(epochs=12, batch_size=24, optimizers=FAST), problems=problems)
    assert {"val_mae", "val_loss"} <= result.tasks["sum"].keys()
    assert "val_f1" in result.tasks["labels"]
    assert "val_mae" not in result.best
    names = ["levels", "sum", "labels", "sum"]
    mixed = made(X[:4], task=names)
    assert [tuple(one.shape) for one in mixed] == [(5,), (1,), (3,), (1,)]
    for row, name in enumerate(names):
        torch.testing.assert_close(mixed[row], made(X[row : row + 1], task=name)[0])


def mean_of_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def test_a_loss_of_ones_own_is_used_with_the_problem() -> None:
    ours, theirs = model(sum=1), model(sum=1)
    train_task(ours, "sum", NUMBERS, NUMBERS, SETTINGS, problem=Regression(loss=mean_of_squares))
    train_task(theirs, "sum", NUMBERS, NUMBERS, SETTINGS, loss=F.mse_loss)
    torch.testing.assert_close(ours(X, task="sum"), theirs(X, task="sum"), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("problem", "data", "message"),
    [
        (
            Regression(),
            TensorDataset(X, X.sum(1).index_fill(0, torch.tensor([3]), float("nan"))),
            "target 3 of train is nan",
        ),
        (Regression(), LABELS, r"returns \[\d+, 1\] for targets \[\d+, 3\]"),
        (MultiLabel(), TensorDataset(X, X[:, :1]), "must be from 0 to 1"),
        (Classification(), NUMBERS, r"problem=Regression"),
        (Ordinal(), TensorDataset(X, torch.full((96,), 7)), "a target is 7"),
        (Regression(loss=lambda outputs, targets: "much"), NUMBERS, "the loss must return a number"),
    ],
)
def test_targets_that_do_not_fit_are_refused(problem: Problem, data: Any, message: str) -> None:
    with pytest.raises((TargetError, ValueError), match=message):
        train_task(model(a=1), "a", data, data, SETTINGS, problem=problem)


def test_one_thing_says_what_to_minimise() -> None:
    with pytest.raises(ValueError, match="each say what to minimise"):
        train_task(model(a=1), "a", NUMBERS, NUMBERS, problem=Regression(), loss=F.mse_loss)
    with pytest.raises(ValueError, match="label_smoothing"):
        train_task(model(a=1), "a", NUMBERS, NUMBERS, Settings(label_smoothing=0.1), problem=Regression())
    with pytest.raises(ValueError, match="'b' is none of the tasks"):
        train_together(model(a=1), {"a": TaskSet(NUMBERS, NUMBERS)}, problems={"b": Regression()})

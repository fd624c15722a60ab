from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import taskfold as tfold
from taskfold import MultiTask
from taskfold.train import (
    CollapseWarning,
    JointSettings,
    OptimizerSettings,
    Settings,
    TaskSet,
    group_rates,
    train_task,
    train_together,
)
from taskfold.train._collapse import Predicted, Watched


def points(count: int, seed: int) -> TensorDataset:
    """Four clouds."""
    random, classes = torch.Generator().manual_seed(seed), torch.arange(count) % 4
    x = torch.randn(count, 8, generator=random)
    x[torch.arange(count), classes] += 3
    return TensorDataset(x, classes)


def deep(*tasks: str) -> MultiTask:
    """A network of six layers, which dies of a rate that is too high."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        widths = [8, *[32] * 6]
        layers = [part for n in range(6) for part in (nn.Linear(*widths[n : n + 2]), nn.ReLU())]
        model = MultiTask(nn.Sequential(*layers), tfold.FineTuning(), num_features=32)
        for name in tasks:
            model.add_task(name, head=4)
    return model


def at(model: MultiTask, lr: float, *tasks: str) -> dict[str, OptimizerSettings]:
    return {group: OptimizerSettings(lr=lr) for group in group_rates(model, list(tasks))}


def train(lr: float, epochs: int = 2, folder: Path | None = None) -> list[str]:
    """What is said of a training at this rate."""
    model = deep("clouds")
    settings = Settings(epochs=epochs, optimizers=at(model, lr, "clouds"), checkpoint_every=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train_task(model, "clouds", points(640, 0), points(80, 1), settings, folder=folder)
    assert all(one.category is CollapseWarning and one.filename == __file__ for one in said)
    return [str(one.message) for one in said]


@pytest.mark.parametrize("lr", [1e-5, 1e-3, 2e-2])
def test_rates_that_learn_and_rates_that_hardly_do_are_no_collapse(lr: float) -> None:
    assert train(lr) == []


@pytest.mark.parametrize(
    ("lr", "what"), [(0.4, "one class is predicted for 100 % of"), (2.0, "the loss has risen from 1.38 to")]
)
def test_a_collapse_is_said_once_with_the_rate_to_try(lr: float, what: str, tmp_path: Path) -> None:
    [said] = train(lr, 3, tmp_path)
    assert said.startswith("task 'clouds' has collapsed in epoch 1: ") and what in said
    assert f"try a third of what was set (factors {lr / 3:.2g}, head {lr / 3:.2g})" in said
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    [line] = [line for line in lines if line["event"] == "collapsed"]
    assert (line["task"], line["epoch"], line["step"]) == ("clouds", 1, 20) and line["what"] in said
    assert train(lr, 3, tmp_path) == []  # what has finished is not said again


def test_of_tasks_trained_together_the_one_is_named_that_has_collapsed() -> None:
    model = deep("still", "wild")
    sets = {name: TaskSet(points(320, 0), points(80, 1)) for name in ("still", "wild")}
    settings = JointSettings(epochs=1, optimizers=at(model, 2.0, "still", "wild"), task_weights={"still": 0.0})
    with pytest.warns(CollapseWarning, match="task 'wild' has collapsed") as said:
        train_together(model, sets, settings)
    assert len(said) == 1


def losses(*values: float) -> Watched:
    watched = Watched()
    for value in values:
        watched.step(32 * value, 32)
    return watched


CONSTANT = Predicted(share=1.0, chance=1.386, spread=0.1)
CASES: dict[str, tuple[Watched, float, float, Predicted | None, str | None]] = {
    "learns": (losses(1.4, *[0.3] * 40), 0.3, 0.9, Predicted(0.3, 1.386, 1.0), None),
    "overfits": (losses(1.4, *[0.01] * 40), 9.0, 0.5, Predicted(0.3, 1.386, 1.0), None),
    "rose for a moment": (losses(1.4, *[9.0] * 5, *[0.3] * 60), 0.3, 0.9, Predicted(0.3, 1.386, 1.0), None),
    "has not begun": (losses(*[1.4] * 40), 1.4, 0.25, CONSTANT, None),
    "fell and rose": (losses(1.4, *[0.3] * 40, *[1.39] * 80), 1.4, 0.25, CONSTANT, "had been 0.3"),
    "rose and fell": (losses(1.4, *[9.0] * 40, *[1.39] * 80), 1.4, 0.25, CONSTANT, "had risen from 1.4"),
    "died": (losses(*[1.4] * 40), 1.4, 0.25, Predicted(1.0, 1.386, 0.0), "the same for all"),
    "most are of one class": (losses(0.7, *[0.2] * 20, *[1.4] * 80), 1.4, 0.95, CONSTANT, None),
    "rose": (losses(1.4, *[9.0] * 40), 9.0, 0.3, Predicted(0.5, 1.386, 1.0), "the loss has risen"),
    "begins where it was learned": (losses(0.01, *[0.5] * 40), 0.5, 0.8, Predicted(0.3, 1.386, 1.0), None),
    "no classes, noisy": (losses(0.1, *[0.2] * 40), 0.25, 0.0, None, None),
    "no classes, rose": (losses(0.1, *[0.9] * 80), 0.9, 0.0, None, "the loss has risen"),
    "negative": (losses(-1.0, *[5.0] * 40), 5.0, 0.0, None, None),
    "so far for few steps": (losses(1.4, *[9.0] * 8), 9.0, 0.3, Predicted(0.5, 1.386, 1.0), None),
    "nothing seen": (Watched(), 5.0, 0.0, None, None),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_a_collapse(name: str) -> None:
    watched, val_loss, accuracy, predicted, said = CASES[name]
    found = watched.collapsed(val_loss, accuracy, predicted)
    assert found is None if said is None else found is not None and said in found


def test_a_measure_of_ones_own_may_give_outputs() -> None:
    model = deep("clouds")
    settings = Settings(epochs=1, optimizers=at(model, 0.4, "clouds"))

    def objective(model: MultiTask, batch: list[Tensor], names: list[str]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0], task=names[0]), batch[1], reduction="none")

    def measure(model: MultiTask, batch: list[Tensor], names: list[str]) -> dict[str, Tensor]:
        outputs = model(batch[0], task=names[0])
        return {"loss": objective(model, batch, names), "outputs": outputs, "accuracy": outputs.argmax(1).eq(batch[1])}

    def collate(samples: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        return [torch.stack(part) for part in zip(*samples, strict=True)]

    seams = {"objective": objective, "measure": measure, "collate": collate}
    with pytest.warns(CollapseWarning, match="one class is predicted"):
        result = train_task(model, "clouds", points(640, 0), points(80, 1), settings, **seams)  # type: ignore[arg-type]
    assert "val_outputs" not in result.best

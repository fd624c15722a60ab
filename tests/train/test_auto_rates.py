"""`lr="auto"`: the rates that trials find, and a training that is unaffected by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from taskfold import FineTuning, HeadNorm, HeadOnly, MultiTask
from taskfold.tasks import read_header
from taskfold.train import (
    CheckpointError,
    DivergedError,
    JointSettings,
    OptimizerSettings,
    Result,
    Settings,
    group_rates,
    train_task,
    train_together,
)
from taskfold.train import _range_test as range_test
from taskfold.train._trial import Trials

from . import images, joint
from .cases import Noisy, bits, data, make
from .test_resume import Interrupted, lines, timeless
from .toys import InTurn, Sparse

AUTO: dict[str, Any] = {"epochs": 2, "batch_size": 8, "log_every": 2, "checkpoint_every": 0, "lr": "auto"}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_test, "LEAST", 4)
    monkeypatch.setattr(range_test, "MOST", 4)
    monkeypatch.setattr(range_test, "FURTHEST", 1)


def alone(method: Any, **more: Any) -> Callable[[dict[str, Any]], tuple[Result, MultiTask]]:
    def train(settings: dict[str, Any]) -> tuple[Result, MultiTask]:
        model = make("a", method=method)
        return train_task(model, "a", Noisy(data(30)), data(9, 1), Settings(**settings | more)), model

    return train


def together(**more: Any) -> Callable[[dict[str, Any]], tuple[Result, MultiTask]]:
    def train(settings: dict[str, Any]) -> tuple[Result, MultiTask]:
        model = joint.team(norm=True)
        return train_together(model, joint.sets(), JointSettings(**settings | more)), model

    return train


def same_images(settings: dict[str, Any]) -> tuple[Result, MultiTask]:
    model = joint.team()
    seams: dict[str, Any] = {"objective": images.losses, "collate": images.collate}
    return train_together(model, images.images(), JointSettings(**settings, select_by="loss"), **seams), model


KINDS: dict[str, Callable[[dict[str, Any]], tuple[Result, MultiTask]]] = {
    "batch statistics, dropout, augmentation": alone(HeadNorm(statistics="own")),
    "a penalty": alone(Sparse(rank=2)),
    "phases": alone(InTurn(rank=2), epochs=4),
    "together, learned weights": together(sampling="uniform", clip_norm=1.0, weighting="uncertainty"),
    "the same images": same_images,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_training_is_that_of_these_rates_set_by_hand(kind: str) -> None:
    found, ours = KINDS[kind](AUTO)
    rates = found.rates["lr"]
    assert len(found.rates["trials"]) >= 2
    assert found.rates["steps"] <= 4 * len(found.rates["trials"])
    by_hand = {**AUTO, "lr": None, "optimizers": {group: OptimizerSettings(lr=rate) for group, rate in rates.items()}}
    wanted, theirs = KINDS[kind](by_hand)
    assert joint.everything(ours) == joint.everything(theirs)
    assert [timeless(point) for point in found.curve] == [timeless(point) for point in wanted.curve]
    assert wanted.rates == {}


def bowl(optimum: dict[str, float], cliff: float = math.inf) -> Callable[..., list[float]]:
    """Trials whose loss is quadratic in octaves from an optimum, and which diverge above a rate of the head."""

    def losses(trials: Trials, regime: Any, tops: dict[str, float]) -> list[float]:
        away = sum(math.log2(tops[group] / rate) ** 2 for group, rate in optimum.items())
        return [] if tops["head"] > cliff else [1 + away] * trials.length

    return losses


@pytest.mark.parametrize(
    ("optimum", "cliff", "octaves"),
    [
        ({"head": 0.08, "norm": 0.08}, math.inf, {"head": 4, "norm": 4}),
        ({"head": 0.005 / 32, "norm": 0.005 / 32}, math.inf, {"head": -5, "norm": -5}),
        ({"head": 0.005, "norm": 0.02}, math.inf, {"head": 0, "norm": 2}),
        ({"head": 0.04, "norm": 0.0025}, math.inf, {"head": 3, "norm": -1}),
        ({"head": 0.04, "norm": 0.04}, 0.03, {"head": 1.5, "norm": 2.5}),  # half an octave from the cliff
        ({"head": 0.04, "norm": 0.04}, 0.002, {"head": -2.5, "norm": 2.5}),
    ],
)
def test_it_finds_the_optimum_of_each_group_and_stays_half_an_octave_below(
    optimum: dict[str, float], cliff: float, octaves: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_test, "FURTHEST", 12)
    monkeypatch.setattr(Trials, "losses", bowl(optimum, cliff))
    result, _ = alone(HeadNorm())(AUTO)
    found = {group: math.log2(rate / 0.005) + 0.5 for group, rate in result.rates["lr"].items()}
    assert found == pytest.approx(octaves)
    assert result.rates["trials"][0]["lr"] == {"head": 0.005, "norm": 0.005}
    assert f", norm {result.rates['lr']['norm']:.2g}: a little below the lowest loss of " in result.rates["why"]
    assert ("of them diverged" in result.rates["why"]) == (cliff < math.inf)


def test_rates_that_are_listed_stay() -> None:
    head = OptimizerSettings(optimizer="sgd", lr=0.03)
    result, _ = alone(HeadNorm())({**AUTO, "optimizers": {"head": head}})
    assert [*result.rates["lr"]] == ["norm"]
    assert result.curve[0]["lr"]["head"] / result.curve[0]["lr"]["norm"] == pytest.approx(
        0.03 / result.rates["lr"]["norm"]
    )


def test_there_must_be_a_rate_to_find() -> None:
    with pytest.raises(ValueError, match="lr='auto' finds the learning rates of groups that optimizers does not list"):
        alone(HeadOnly())({**AUTO, "optimizers": {"head": OptimizerSettings(lr=1e-2)}})


class Steep:
    """A loss that is not a number once a parameter has gone further than this."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, model: MultiTask, batch: Any, tasks: Any) -> Tensor:
        found = joint.Watching()(model, batch, tasks)
        far = max(float((p - self.start[key]).detach().abs().max()) for key, p in model["a"].named_parameters())
        return found * math.nan if far > self.limit else found

    def begin(self, model: MultiTask) -> Any:
        self.start = {key: p.detach().clone() for key, p in model["a"].named_parameters()}
        return model


@pytest.mark.parametrize("limit", [0.015, 0.004])
def test_a_loss_that_is_not_finite_is_an_answer(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_test, "FURTHEST", 3)
    objective = Steep(limit)
    model = objective.begin(make("a", method=HeadOnly()))
    settings = Settings(**{**AUTO, "max_steps": 4, "steps_per_epoch": 4, "epochs": 1, "select_by": "loss"})
    result = train_task(model, "a", data(40), data(9, 1), settings, objective=objective)
    assert any(one["loss"] is None for one in result.rates["trials"])
    assert "diverged" in result.rates["why"]
    assert result.rates["lr"]["head"] < (0.01 if limit > 0.01 else 0.0025)


def test_where_every_rate_diverges_the_training_says_so() -> None:
    inputs, targets = data(30).tensors
    broken: Dataset[Any] = TensorDataset(inputs * math.nan, targets)
    with pytest.raises(DivergedError):
        train_task(make("a"), "a", broken, data(9, 1), Settings(**AUTO))


def test_two_samples_are_enough_and_the_tasks_file_has_the_rates(tmp_path: Path) -> None:
    model = make("a", method=FineTuning())
    result = train_task(model, "a", data(2), data(2, 1), Settings(**AUTO))
    assert {*result.rates["lr"]} == {*group_rates(model, ["a"])}
    model.save_task("a", tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors")["info"]["metrics"]["lr"] == result.rates["lr"]


@pytest.mark.parametrize("when", [0, 1])
def test_a_run_that_was_interrupted_in_the_test_or_after_it_ends_with_the_same_bits(when: int, tmp_path: Path) -> None:
    settings = Settings(**AUTO)
    whole, model = (make("a", method=HeadOnly()) for _ in range(2))
    result = train_task(whole, "a", Noisy(data(30)), data(9, 1), settings)
    start = bits(model, "a")
    with pytest.raises(KeyboardInterrupt):
        train_task(model, "a", Interrupted(data(30), epoch=when, index=7), data(9, 1), settings, folder=tmp_path)
    assert when or bits(model, "a") == start
    later = train_task(model, "a", Noisy(data(30)), data(9, 1), settings, folder=tmp_path)
    assert bits(model, "a") == bits(whole, "a")
    assert later.rates == result.rates
    assert [line["lr"] for line in lines(tmp_path) if line["event"] == "rates"] == [result.rates["lr"]]
    assert next(line["event"] for line in lines(tmp_path)) == "rates"
    again = train_task(model, "a", Noisy(data(30)), data(9, 1), settings, folder=tmp_path)
    assert again.rates == result.rates
    with pytest.raises(CheckpointError, match=r"settings\.lr was 'auto', is now None"):
        train_task(model, "a", Noisy(data(30)), data(9, 1), settings.model_copy(update={"lr": None}), folder=tmp_path)

"""Losses weighted by learned uncertainty, against two steps written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from taskfold import MultiTask
from taskfold.train import JointSettings, OptimizerSettings, train_together

from .images import NAMES, Images, Watched, collate, images, losses
from .joint import ONE_STEP, PRIVATE, QUICK, SHARED, SIZES, everything, points, sets, team

RATE = 0.7
LEARNED = OptimizerSettings(optimizer="sgd", lr=RATE, momentum=0.0)
TWO_STEPS = ONE_STEP.model_copy(update={"max_steps": 2, "weighting": "uncertainty", "uncertainty": LEARNED})
WEIGHTS = {"a": 1.0, "b": 4.0, "c": 0.25}


def together(model: MultiTask) -> dict[str, Tensor]:
    """L_t where samples serve several tasks."""
    found = losses(model, collate([Images(30)[n] for n in range(30)]), NAMES)
    return {name: values.sum() / 30 for name, values in found.items()}


def apart(model: MultiTask) -> dict[str, Tensor]:
    """L_t where each sample is of one task."""
    found = {}
    for name, size in SIZES.items():
        inputs, targets = points(name, size).tensors
        found[name] = torch.nn.functional.cross_entropy(model(inputs, task=name), targets) * size / 37
    return found


@pytest.mark.parametrize("method", [SHARED, PRIVATE], ids=["shared", "private"])
@pytest.mark.parametrize("of", [together, apart])
def test_two_steps_are_those_of_the_formula(of: Callable[[MultiTask], dict[str, Tensor]], method: Any) -> None:
    model, oracle = team(method), team(method)
    settings = TWO_STEPS.model_copy(update={"task_weights": WEIGHTS})
    if of is together:
        own: dict[str, Any] = {"objective": losses, "collate": collate}
        result = train_together(model, images(), settings.model_copy(update={"batch_size": 30}), **own)
    else:
        result = train_together(model, sets(), settings)
    s = dict.fromkeys(NAMES, 0.0)
    parameters = [p for p in oracle.parameters() if p.requires_grad]
    for step in range(2):
        found = of(oracle.train())
        total = sum(0.5 * math.exp(-s[name]) * WEIGHTS[name] * loss for name, loss in found.items())
        gradients = torch.autograd.grad(total, parameters)  # type: ignore[arg-type]
        for name, loss in found.items():
            s[name] -= RATE * 0.5 * (1 - math.exp(-s[name]) * WEIGHTS[name] * loss.item())
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * gradient
        wanted = {name: WEIGHTS[name] * 0.5 * math.exp(-s[name]) for name in NAMES}
        assert result.curve[step]["weights"] == pytest.approx(wanted, rel=1e-5)
    if result.best_epoch == 2:
        for key, parameter in oracle.named_parameters():
            torch.testing.assert_close(dict(model.named_parameters())[key], parameter, rtol=1e-4, atol=1e-5)
    assert min(abs(value) for value in s.values()) > 0.1
    assert result.best_epoch == 2


def test_a_task_that_is_not_in_the_batch_keeps_its_weight() -> None:
    watched = Watched()
    settings = JointSettings(
        weighting="uncertainty", max_steps=15, steps_per_epoch=1, batch_size=2, select_by="loss", schedule="constant"
    )
    result = train_together(team(), images(), settings, objective=watched, collate=collate)
    before = dict.fromkeys(NAMES, 0.5)
    for names, point in zip(watched.names, result.curve, strict=True):
        for name, weight in point["weights"].items():
            assert (weight != before[name]) == (name in names)
        before = point["weights"]
    assert sum("c" not in names for names in watched.names) > 3


def test_a_harder_task_comes_to_weigh_less() -> None:
    """With the weights fixed, s settles at log L, so that every task's part of the loss is ½."""
    still = OptimizerSettings(optimizer="sgd", lr=1e-12, momentum=0.0)
    learned = OptimizerSettings(optimizer="sgd", lr=1.0, momentum=0.0)
    settings = TWO_STEPS.model_copy(
        update={
            "max_steps": 60,
            "batch_size": 30,
            "optimizers": {"factors": still, "head": still},
            "uncertainty": learned,
        }
    )
    model = team()
    result = train_together(model, images(), settings, objective=losses, collate=collate)
    with torch.no_grad():
        wanted = {name: 0.5 / loss.item() for name, loss in together(model).items()}
    assert result.curve[-1]["weights"] == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("when", [(0, 3), (1, 7), (2, 0)])
def test_interrupted_it_goes_on_with_the_same_weights(when: tuple[int, int], tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"weighting": "uncertainty", "select_by": "loss", "log_every": 1})
    own: dict[str, Any] = {"objective": losses, "collate": collate}
    whole, other = team(), team(seed=3)
    result = train_together(whole, images(), settings, **own)
    with pytest.raises(KeyboardInterrupt):
        train_together(team(), images(stop=when), settings, folder=tmp_path, **own)
    later = train_together(other, images(), settings, folder=tmp_path, **own)
    assert everything(other) == everything(whole)
    assert [point["weights"] for point in later.curve] == [point["weights"] for point in result.curve]
    assert "weights" not in train_together(team(), sets(), QUICK).curve[0]

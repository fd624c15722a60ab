"""Gradient scaling over several optimisers, which Accelerate's own wrapper does not do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskfold.train import OptimizerSettings, Settings
from taskfold.train._optimisers import Optimisers, factor


class Scaled:
    """As much of an Accelerator as the optimisers ask for, in full precision on the CPU."""

    def __init__(self, scale: float | None) -> None:
        self.scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)

    def backward(self, loss: Tensor) -> None:
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()


def trained(scale: float | None, overflow: bool = False) -> tuple[list[Tensor], Any]:
    torch.manual_seed(0)
    groups = {"factors": [nn.Parameter(torch.randn(4))], "head": [nn.Parameter(torch.randn(4))]}
    accelerator: Any = Scaled(scale)
    chosen = {"factors": OptimizerSettings(lr=1e-2), "head": OptimizerSettings(lr=5e-3)}
    optimisers = Optimisers(groups, chosen, Settings(warmup=0, clip_norm=0.5), accelerator, steps=6)
    for step in range(6):
        loss = (groups["factors"][0] * groups["head"][0]).square().sum()
        if overflow and step == 3:
            loss = loss + groups["head"][0][0] * float("inf")
        optimisers.clear()
        accelerator.backward(loss)
        optimisers.step(step)
    return [parameter.detach() for own in groups.values() for parameter in own], optimisers


@pytest.mark.parametrize("scale", [2.0**4, 2.0**16])
def test_scaled_gradients_give_the_same_steps(scale: float) -> None:
    plain, _ = trained(None)
    scaled, optimisers = trained(scale)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, scaled, strict=True))
    assert optimisers.state_dict()["scaler"]["scale"] == scale * 2**3


def test_an_overflow_skips_the_step_of_every_optimiser() -> None:
    found, optimisers = trained(2.0**4, overflow=True)
    assert all(bool(parameter.isfinite().all()) for parameter in found)
    steps = [s["step"] for o in optimisers.state_dict()["optimisers"].values() for s in o["state"].values()]
    assert steps == [5, 5]


@pytest.mark.parametrize("scale", [None, 2.0**4])
def test_a_step_without_gradients_moves_nothing(scale: float | None) -> None:
    found, optimisers = trained(scale)
    before, state = [p.detach().clone() for p in found], optimisers.state_dict()["scaler"]
    optimisers.clear()
    optimisers.step(3)
    assert all(torch.equal(a, b) for a, b in zip(found, before, strict=True))
    assert optimisers.state_dict()["scaler"] == state


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedules_rise_and_fall(schedule: str) -> None:
    settings = Settings.model_validate({"schedule": schedule, "warmup": 0.2})
    found = [factor(settings, step, 100) for step in range(100)]
    assert found[0] == pytest.approx(1 / 20)
    assert found[19] == found[20] == 1
    assert all(0 < value <= 1 for value in found)
    assert (found[-1] < 0.02) == (schedule != "constant")
    assert found[20:] == sorted(found[20:], reverse=True)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_parameter_that_joins_late_steps_as_if_alone(momentum: float) -> None:
    chosen = OptimizerSettings(optimizer="sgd", lr=0.1, momentum=momentum, weight_decay=0.1)
    ours, theirs = ([nn.Parameter(torch.ones(3) * n) for n in (1, 2)] for _ in range(2))
    made = chosen.build(ours)
    alone = [torch.optim.SGD([p], 0.1, momentum, weight_decay=0.1, fused=False) for p in theirs]
    for step in range(5):
        for own, other, optimiser in zip(ours, theirs, alone, strict=True):
            present = own is ours[0] or step in (2, 4)
            own.grad = torch.full_like(own, step + 1.0) if present else None
            other.grad = own.grad
            optimiser.step()
        made.step()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other)

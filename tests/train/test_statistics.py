"""Running statistics: of which layers, with what momentum, and their re-estimation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taskfold import HeadNorm, HeadOnly, MultiTask
from taskfold.layers import Statistics
from taskfold.train import Settings, train_task
from taskfold.train._statistics import momentum, reestimate, statistics

from .cases import bits, data, make


def test_reestimated_statistics_are_those_of_the_data() -> None:
    model = make("a", "b", method=HeadNorm(statistics="own")).eval()
    inputs = data(30).tensors[0] * 3 + 5
    others = bits(model, "b"), {k: v.clone() for k, v in model.backbone.state_dict().items()}
    reestimate(model, "a", inputs.split(10), lambda batch: model(batch, task="a"))
    made = model.backbone[0](inputs)  # type: ignore[operator]
    own = statistics(model, "a")["1"]
    assert torch.allclose(own["running_mean"], made.mean((0, 2, 3)), atol=1e-5)
    wanted = torch.stack([part.var((0, 2, 3)) for part in made.split(10)]).mean(0)
    assert torch.allclose(own["running_var"], wanted, atol=1e-4)
    assert own["num_batches_tracked"] == 3
    assert not model.training
    assert bits(model, "b") == others[0]
    assert all(torch.equal(tensor, model.backbone.state_dict()[key]) for key, tensor in others[1].items())


def test_dropout_is_off_while_statistics_are_estimated() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten())
    model = MultiTask(net, HeadNorm(statistics="own"))
    model.add_task("a", nn.Sequential(nn.Flatten(), nn.Dropout(0.5)))
    reestimate(model, "a", [data(8).tensors[0]], lambda batch: model(batch, task="a"))
    wanted = net[1](data(8).tensors[0]).mean((0, 2, 3))
    assert torch.allclose(statistics(model, "a")["2"]["running_mean"], wanted, atol=1e-5)
    assert model.training
    assert model["a"].head.training  # type: ignore[union-attr]


def test_the_momentum_comes_back_and_the_backbone_keeps_its_own() -> None:
    model = make("a", method=HeadNorm(statistics="own"))
    start = statistics(model, "a")["1"]["running_mean"].clone()
    moved = []
    for value in (None, 0.5):
        with momentum(model, ["a"], value):
            model(data(8).tensors[0], task="a")
            assert model.backbone[1].momentum == 0.01
        moved.append((statistics(model, "a")["1"]["running_mean"] - start).norm())
        statistics(model, "a")["1"]["running_mean"].copy_(start)
        statistics(model, "a")["1"]["num_batches_tracked"].zero_()
    assert moved[1] == pytest.approx(0.5 * moved[0].item(), rel=1e-4)
    model(data(8).tensors[0], task="a")
    assert (statistics(model, "a")["1"]["running_mean"] - start).norm() < 0.02 * moved[0]


def test_a_task_without_own_normalisation_has_none() -> None:
    assert statistics(make("a", method=HeadOnly()), "a") == {}


@pytest.mark.parametrize(("key", "kind"), [("adapt_norm", "adapted"), ("norm_momentum", "own")])
def test_a_setting_of_statistics_that_no_task_has_is_refused(key: str, kind: Statistics) -> None:
    settings = Settings(epochs=1).model_copy(update={key: 0.5})
    train_task(make("a", method=HeadNorm(statistics=kind)), "a", data(8), data(4), settings)
    with pytest.raises(ValueError, match=rf"{key}=0.5 is of BatchNorm with statistics='{kind}'.*leave {key} at"):
        train_task(make("a", method=HeadNorm()), "a", data(8), data(4), settings)

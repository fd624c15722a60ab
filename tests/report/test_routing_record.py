"""The record of a routed inventory, against direct computation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor, nn

import taskfold as tfold
from taskfold.methods import Method
from taskfold.report import _routing_record as module
from taskfold.report import routing_record
from taskfold.report.schema import Routing

from .languages import LANGUAGES, Inventory

TASKS = LANGUAGES[5:10]


@pytest.fixture(name="model")
def _model() -> Inventory:
    return Inventory(groups=2, experts=4, blocks=1)


def test_mixing_weights_and_cosines_are_the_models_own(model: Inventory) -> None:
    record = Routing.model_validate(routing_record(model, TASKS, "MHR"))
    assert (record.label, record.tasks) == ("MHR", TASKS)
    assert [layer.layer for layer in record.layers] == model.layers
    for layer in record.layers:
        assert layer.groups == 2
        for task, alpha in zip(TASKS, layer.alpha, strict=True):
            np.testing.assert_allclose(alpha, model.alpha[task][layer.layer], atol=5.1e-5)
        experts = model.inventory[layer.layer].numpy()
        np.testing.assert_allclose(
            np.array(layer.similarity, dtype=float), 1 - cdist(experts, experts, "cosine"), atol=5.1e-5
        )


def test_distance_is_the_part_of_the_mix_on_other_experts(model: Inventory) -> None:
    record = Routing.model_validate(routing_record(model, TASKS, "MHR"))
    for i, one in enumerate(TASKS):
        for j, other in enumerate(TASKS):
            parts = [
                float((model.alpha[one][layer][group] - model.alpha[other][layer][group]).clamp_min(0).sum())
                for layer in model.layers
                for group in range(2)
            ]
            assert record.distances[i][j] == pytest.approx(np.mean(parts), abs=1e-4)


def test_histograms_count_every_weight_once(model: Inventory) -> None:
    record = Routing.model_validate(routing_record(model, TASKS, "MHR"))
    alphas = torch.cat([model.alpha[task][layer].flatten() for task in TASKS for layer in model.layers])
    assert record.alpha is not None
    assert (record.alpha.low, record.alpha.high, sum(record.alpha.counts)) == (0, 1, alphas.numel())
    assert list(record.alpha.counts) == np.histogram(alphas, len(record.alpha.counts), (0, 1))[0].tolist()
    ranges = {(layer.experts.low, layer.experts.high) for layer in record.layers if layer.experts}
    ((low, high),) = ranges  # one scale for all layers
    assert low == -high
    for layer in record.layers:
        experts = model.inventory[layer.layer].clamp(low, high)
        assert layer.experts is not None
        expected = np.histogram(experts, len(layer.experts.counts), (low, high))[0]
        assert list(layer.experts.counts) == expected.tolist()


@pytest.mark.parametrize(
    ("method", "groups", "experts"),
    [
        (tfold.Poly(rank=2, skills=3), 1, 3),
        (tfold.MHR(rank=2, skills=3, splits=4), 4, 3),
        (tfold.TensorPolyI(rank=2, tensor_rank=5), 1, 5),
        (tfold.TensorPolyII(rank=2, tensor_rank=5, order=3), 3, 5),
    ],
)
def test_every_routed_method_has_a_record(method: Method, groups: int, experts: int) -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 8)), method)
    for name in ("a", "b"):
        model.add_task(name)
    record = Routing.model_validate(routing_record(model, ["a", "b"], "routed"))
    assert [layer.layer for layer in record.layers] == list(model.routing("a"))
    for layer in record.layers:
        assert (layer.groups, layer.size, len(layer.similarity)) == (groups, experts, experts)
        np.testing.assert_allclose(layer.alpha[1], model.routing("b")[layer.layer], atol=5.1e-5)


def test_many_groups_are_recorded_as_their_mean(model: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = routing_record(model, TASKS, "MHR")
    monkeypatch.setattr(module, "KEPT", 100)
    brief = routing_record(model, TASKS, "MHR")
    for layer, short in zip(whole["layers"], brief["layers"], strict=True):
        np.testing.assert_allclose(short["alpha"], np.mean(layer["alpha"], axis=1, keepdims=True), atol=1e-4)
        assert short["groups"] == 2
    assert brief["distances"] == whole["distances"]
    assert brief["alpha"] == whole["alpha"]
    Routing.model_validate(brief)


def test_thirty_tasks_take_less_than_a_megabyte_and_a_half() -> None:
    model = Inventory(groups=4, experts=8, blocks=4)
    record = routing_record(model, LANGUAGES, "MHR")
    assert len(record["layers"]) > 70
    assert len(record["tasks"]) == 30
    assert len(json.dumps(record)) < 1_500_000


def test_an_expert_that_is_zero_has_no_direction(model: Inventory) -> None:
    layer = model.layers[0]
    model.inventory[layer][1] = 0
    record = Routing.model_validate(routing_record(model, TASKS, "MHR"))
    similarity = record.layers[0].similarity
    assert all(value is None for value in similarity[1])
    assert similarity[0][1] is None
    assert similarity[0][0] == 1


def _nan(values: Tensor) -> Tensor:
    return torch.full_like(values, torch.nan)


def test_what_cannot_be_recorded_is_named(model: Inventory) -> None:
    with pytest.raises(ValueError, match="tasks must name at least one routed task, found none"):
        routing_record(model, [], "MHR")
    with pytest.raises(ValueError, match="'head' is not; leave it out"):
        routing_record(model, [*TASKS, "head"], "MHR")
    first = model.layers[0]
    other, inventory = dict(model.alpha[TASKS[1]]), dict(model.inventory)
    del model.alpha[TASKS[1]][first]
    with pytest.raises(ValueError, match=f"one inventory: '{TASKS[1]}' and '{TASKS[0]}' differ"):
        routing_record(model, TASKS, "MHR")
    model.alpha[TASKS[1]] = other | {first: _nan(other[first])}
    with pytest.raises(ValueError, match=f"routing of layer '{first}' does not"):
        routing_record(model, TASKS, "MHR")
    model.alpha[TASKS[1]] = other
    model.inventory[first] = _nan(inventory[first])
    with pytest.raises(ValueError, match=f"inventory of layer '{first}' does not"):
        routing_record(model, TASKS, "MHR")

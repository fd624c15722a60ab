"""Planted affinities are found, groupings are the best ones, and measuring leaves no trace."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

from taskfold import HardSharing, HeadOnly, LoRA, Method, MultiTask
from taskfold.train import (
    AffinitySettings,
    JointSettings,
    OptimizerSettings,
    TaskSet,
    affinity,
    best_groups,
    predicted_gain,
)
from taskfold.train import _grouping as grouping
from taskfold.train._probe import Probe

from .joint import PRIVATE, SHARED, everything, sets, team

OWN = LoRA(rank=2, init="normal", sharing="shared", norm=True, statistics="own")
RATE = 1e-4
PLANTED = {"east": (0, 1.0), "also": (0, 1.0), "west": (0, -1.0), "north": (1, 1.0)}
"""Which input a task looks at, and the sign of its target: equal, opposite and orthogonal to one another."""


def squares(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
    return (model(batch[0], task=list(tasks))[:, 0] - batch[1]).square()


def by_task(model: MultiTask, batch: Any, tasks: Sequence[str]) -> dict[str, Tensor]:
    outputs = model(batch[0], task=list(tasks), broadcast=True)
    return {name: (outputs[name][:, 0] - PLANTED[name][1]).square() for name in tasks}


def planted(method: Method | None = None) -> tuple[MultiTask, dict[str, TaskSet]]:
    """A linear network of zeros, and tasks whose samples are all alike: their gradients are known."""
    net = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(net.weight)
    model, data = MultiTask(net, method or HardSharing()), dict[str, TaskSet]()
    for name, (place, sign) in PLANTED.items():
        model.add_task(name)
        inputs = torch.eye(2, dtype=torch.float64)[place].expand(12, 2)
        samples = TensorDataset(inputs, torch.full((12,), sign, dtype=torch.float64))
        data[name] = TaskSet(samples, samples)
    return model, data


SGD = JointSettings(
    optimizers={"factors": OptimizerSettings(lr=RATE, optimizer="sgd", momentum=0.0)}, select_by="loss", batch_size=8
)
SHORT = AffinitySettings(steps=4, every=2, samples=4)


def test_gains_of_linear_tasks_are_what_calculus_says() -> None:
    model, data = planted()
    found = affinity(model, data, SGD, SHORT, objective=squares, collate=default_collate)
    directions = torch.tensor([[sign * (place == n) for n in (0, 1)] for place, sign in PLANTED.values()])
    alike = directions @ directions.T  # gradients are −2 · direction, losses 1, and a step is one of four tasks
    assert torch.allclose(torch.tensor(found.linear.mean), RATE * alike, rtol=1e-2, atol=1e-12)
    assert found.lookahead is not None
    assert torch.allclose(torch.tensor(found.lookahead.mean), RATE * alike, rtol=1e-2, atol=1e-7)
    assert torch.allclose(torch.tensor(found.cosine.mean), alike, atol=1e-6)
    assert found.losses == pytest.approx([1] * 4, rel=1e-2)
    assert found.measurements == 2


def test_conflicts_helpers_and_groups_are_named() -> None:
    model, data = planted()
    found = affinity(model, data, SGD, SHORT, objective=squares, collate=default_collate)
    assert set(found.conflicts()) == {("east", "west"), ("also", "west")}
    assert found.helpers() == [("east", "also")]
    assert found.groups() == [["east", "also"], ["west"], ["north"]]
    assert found.groups(1) == [[*PLANTED]]
    assert found.predicted(found.groups()) > 0 > found.predicted([[*PLANTED]])
    assert found.as_json()["groups"] == found.groups()
    with pytest.raises(ValueError, match="by='losses' is no measure; choose one of linear, lookahead, cosine"):
        found.groups(by="losses")  # type: ignore[arg-type]


def test_a_step_is_scaled_as_adam_scales_it() -> None:
    model, data = planted()
    adam = SGD.model_copy(update={"optimizers": {"factors": OptimizerSettings(lr=RATE)}})
    found = affinity(model, data, adam, SHORT, objective=squares, collate=default_collate)
    # Of four tasks three look at the first input and one at the second: mean squares of 4 · 3/4 and 4 · 1/4.
    own = torch.tensor(found.linear.mean).diagonal().tolist()
    assert own == pytest.approx([RATE / 3**0.5] * 3 + [RATE], rel=1e-2)


def test_one_pass_over_samples_that_serve_all_tasks() -> None:
    model, _ = planted()
    both = TensorDataset(torch.ones(8, 2, dtype=torch.float64))
    names = (*PLANTED,)  # all look at the same ones
    found = affinity(model, {names: TaskSet(both, both)}, SGD, SHORT, objective=by_task)  # type: ignore[arg-type]
    assert found.groups() == [["east", "also", "north"], ["west"]]


def drawn(seed: int | None = 0) -> tuple[float, float, float]:
    """The next number of each generator, which begins with a seed unless it goes on."""
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.parametrize("norm", [False, True])
def test_measuring_leaves_nothing_behind(norm: bool) -> None:
    model = team(OWN if norm else SHARED, norm=norm)
    model.train(False)
    before, _, dice = everything(model), drawn(), drawn(seed=None)
    drawn()
    affinity(model, sets(), JointSettings(batch_size=8), AffinitySettings(steps=4, every=2, samples=4))
    assert everything(model) == before
    assert drawn(seed=None) == dice
    assert not model.training
    assert all(leaf.grad is None for leaf in model.parameters())


def test_measuring_moves_no_step_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: dict[bool, list[dict[str, bytes]]] = {True: [], False: []}
    measure = Probe.measure
    for measured, seen in walks.items():

        def look(probe: Probe, measured: bool = measured, seen: list[dict[str, bytes]] = seen) -> None:
            seen.append(everything(probe.job.model))
            if measured or len(seen) > 2:
                measure(probe)

        monkeypatch.setattr(Probe, "measure", look)
        affinity(team(OWN, norm=True), sets(), None, AffinitySettings(steps=4, every=1, samples=3))
    assert walks[True] == walks[False]
    assert walks[True][0] != walks[True][-1]


@pytest.mark.parametrize(
    ("method", "names", "message"),
    [
        (PRIVATE, ["a", "b", "c"], r"'a' \(lora\), 'b' \(lora\), 'c' \(lora\) share nothing; choose a method that sha"),
        (HeadOnly(), ["a", "b", "c"], "share nothing"),
        (SHARED, ["a"], "affinity is between tasks, found 'a'; name two"),
        (SHARED, [], "affinity is between tasks, found none"),
    ],
)
def test_what_has_no_affinity_is_refused(method: Method, names: list[str], message: str) -> None:
    data = {name: one for name, one in sets().items() if name in names}
    with pytest.raises(ValueError, match=message):
        affinity(team(method), data, None, SHORT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 10, "every": 6}, "make 1 measurements, and an interval needs two at the least; raise steps"),
        ({"by": "lookahead", "lookahead": False}, "by='lookahead' needs lookahead=True"),
    ],
)
def test_measuring_that_says_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AffinitySettings(**settings)


def partitions(items: list[int]) -> list[list[list[int]]]:
    """All of them, slowly and plainly."""
    if not items:
        return [[]]
    first, *rest = items
    found = []
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = [item for item in rest if item not in others]
            found += [[[first, *others], *more] for more in partitions(left)]
    return found


@pytest.mark.parametrize("count", [None, 1, 2, 3, 6])
def test_the_best_grouping_is_found(count: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = torch.Generator().manual_seed(0)
    matrices = [torch.randn(6, 6, generator=dice).tolist() for _ in range(6)]
    every = [one for one in partitions([*range(6)]) if count in (None, len(one))]
    best = [max(predicted_gain(gains, one) for one in every) for gains in matrices]
    exact = [predicted_gain(gains, best_groups(gains, count)) for gains in matrices]
    assert exact == pytest.approx(best)
    monkeypatch.setattr(grouping, "EXHAUSTIVE", 0)
    greedy = [best_groups(gains, count) for gains in matrices]
    assert all(sorted(itertools.chain(*one)) == [*range(6)] for one in greedy)
    assert count is None or all(len(one) == count for one in greedy)
    reached = sum(predicted_gain(gains, one) for gains, one in zip(matrices, greedy, strict=True))
    assert reached >= 0.9 * sum(best) - 1e-9 if sum(best) > 0 else reached >= 1.1 * sum(best) - 1e-9


def test_many_tasks_in_three_camps_are_told_apart() -> None:
    camps = [n % 3 for n in range(30)]
    gains = [[1.0 if one == other else -0.1 for other in camps] for one in camps]
    assert best_groups(gains) == [[n for n in range(30) if n % 3 == camp] for camp in range(3)]
    assert [len(group) for group in best_groups([[0.0] * 30] * 30)] == [1] * 30
    with pytest.raises(ValueError, match="groups=31 must be a whole number from 1 to the number of tasks, 30"):
        best_groups(gains, 31)
    with pytest.raises(ValueError, match=r"groups=2.5 must be a whole number"):
        best_groups(gains, 2.5)  # type: ignore[arg-type]

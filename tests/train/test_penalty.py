"""Penalties against loops written out by hand, in value and in the bits of gradients and weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskfold import LoRA, Method, MultiTask, Task
from taskfold.evaluate import evaluate
from taskfold.layers import inventory_of
from taskfold.methods import Phase, Turn
from taskfold.train import (
    DivergedError,
    JointSettings,
    Settings,
    _processes,
    train_task,
    train_together,
)
from taskfold.train._balance import aggregator
from taskfold.train._gradients import Losses, Plain

from .by_hand import STEADY, Recording, lines, step_by_hand, watch
from .classes import classification
from .images import collate, images, losses
from .joint import ONE_STEP, PRIVATE, QUICK, SGD, SIZES, everything, points, sets, team
from .toys import Sparse, factors

SPARSE = Sparse(rank=2, init="normal")
SHARED = Sparse(rank=2, init="normal", sharing="shared")
WEIGHTS = {"a": 1.0, "b": 4.0, "c": 0.25}


def test_a_penalty_is_added_to_the_loss_of_each_task_that_is_in_the_batch(tmp_path: Path) -> None:
    model, twin = team(SHARED), team(SHARED)
    seen = Recording(model)
    settings = QUICK.model_copy(update={**STEADY, "task_weights": WEIGHTS, "batch_size": 3, "epochs": 1})
    result = train_together(model, sets(), settings, objective=seen, folder=tmp_path)
    mine: list[bytes] = []
    watch(twin, mine)
    logged = [line for line in lines(tmp_path) if line["event"] == "step"]
    names, sums = list(SIZES), dict.fromkeys(SIZES, (0.0, 0))
    for step, (batch, tasks) in enumerate(seen.batches):
        progress = step / len(seen.batches)
        assert seen.progress[step] == progress
        weights = torch.tensor([WEIGHTS[name] for name in names])
        values = classification().loss(twin.train(), batch, tasks)
        loss = (values * weights[torch.tensor([names.index(name) for name in tasks])]).sum() / len(tasks)
        penalties = {name: SHARED.penalty(twin[name], progress) for name in names if name in tasks}
        loss = sum((weights[names.index(name)] * one for name, one in penalties.items()), loss)  # type: ignore[operator]
        step_by_hand(twin, loss)
        assert logged[step]["penalty"] == {name: one.item() for name, one in penalties.items()}  # type: ignore[union-attr]
        weighted = sum(WEIGHTS[name] * value for name, value in zip(tasks, values.tolist(), strict=True)) / len(tasks)
        assert logged[step]["loss"] == pytest.approx(weighted, rel=1e-5)
        for name, one in logged[step]["penalty"].items():
            sums[name] = sums[name][0] + one, sums[name][1] + 1
    assert any(len({*tasks}) < 3 for _, tasks in seen.batches)
    assert sorted(seen.gradients) == sorted(mine)
    assert everything(model) == everything(twin)
    for name, (total, count) in sums.items():
        assert result.curve[0]["tasks"][name]["penalty"] == pytest.approx(total / count)
    whole = sum(WEIGHTS[name] * total for name, (total, _) in sums.items()) / len(seen.batches)
    assert result.curve[0]["penalty"] == pytest.approx(whole)
    assert [line["penalty"] for line in lines(tmp_path) if line["event"] == "epoch"] == [
        point["penalty"] for point in result.curve
    ]
    with torch.no_grad():
        final = {name: SHARED.penalty(model[name], 1.0).item() for name in SIZES}  # type: ignore[union-attr]
    assert {name: found["penalty"] for name, found in result.tasks.items()} == final
    assert result.best["penalty"] == pytest.approx(sum(WEIGHTS[name] * one for name, one in final.items()))
    assert model["a"].info.metrics["penalty"] == final["a"]


def test_a_single_task_has_its_penalty_beside_its_loss() -> None:
    model, twin = team(SPARSE), team(SPARSE)
    settings = Settings.model_validate({**STEADY, "epochs": 2, "batch_size": 5})
    seen = Recording(model)
    result = train_task(model, "a", points("a", 20), points("a", 7, 1), settings, objective=seen)
    found = []
    for step, (batch, tasks) in enumerate(seen.batches):
        values, penalty = classification().loss(twin.train(), batch, tasks), SPARSE.penalty(twin["a"], step / 8)
        assert penalty is not None
        step_by_hand(twin, values.sum() / 5 + penalty)
        found.append((values.mean().item(), penalty.item()))
    assert everything(model) == everything(twin)
    for point, part in zip(result.curve, (found[:4], found[4:]), strict=True):
        assert point["train_loss"] == pytest.approx(sum(loss for loss, _ in part) / 4)
        assert point["penalty"] == pytest.approx(sum(penalty for _, penalty in part) / 4)
    assert result.best["penalty"] == SPARSE.penalty(model["a"], 1.0).item()  # type: ignore[union-attr]


def test_selection_never_sees_a_penalty() -> None:
    heavy = Sparse(rank=2, init="normal", strength=1e3)
    still = {"factors": SGD.model_copy(update={"lr": 1e-12}), "head": SGD}
    model = team(heavy)
    settings = Settings.model_validate({**STEADY, "epochs": 3, "batch_size": 5, "optimizers": still})
    result = train_task(model, "a", points("a", 20), points("a", 7, 1), settings)
    assert result.best["penalty"] > 100
    assert result.best["val_loss"] == pytest.approx(evaluate(model, "a", points("a", 7, 1)).loss, rel=1e-5)
    losses = [point["val_loss"] for point in result.curve]
    assert result.best_epoch == losses.index(min(losses)) + 1


@pytest.mark.parametrize("method", [PRIVATE, Sparse(rank=2, init="normal", strength=0.0)], ids=["no hook", "None"])
def test_without_a_penalty_nothing_is_said_of_one_and_the_bits_are_the_same(method: Method, tmp_path: Path) -> None:
    model, plain = team(method), team(PRIVATE)
    result = train_together(model, sets(), QUICK, folder=tmp_path)
    train_together(plain, sets(), QUICK)
    assert everything(model) == everything(plain)
    assert "penalty" not in json.dumps([*lines(tmp_path), result.as_json()])


def penalised(twin: MultiTask, at: float) -> dict[str, Tensor]:
    return {name: SHARED.penalty(twin[name], at) for name in SIZES}  # type: ignore[misc]


def mean_losses(twin: MultiTask) -> dict[str, Tensor]:
    found = {}
    for name, size in SIZES.items():
        inputs, targets = points(name, size).tensors
        found[name] = F.cross_entropy(twin.train()(inputs, task=name), targets)
    return found


def test_balanced_gradients_are_of_losses_with_their_penalties() -> None:
    model, twin = team(SHARED), team(SHARED)
    train_together(model, sets(), ONE_STEP.model_copy(update={"balance": "upgrad", "task_weights": WEIGHTS}))
    leaves, rows = list(inventory_of(twin["a"]).values()), []
    means, added = mean_losses(twin), penalised(twin, 0.0)
    for name, size in SIZES.items():
        row = torch.autograd.grad(WEIGHTS[name] * (means[name] + added[name]), leaves, retain_graph=True)
        rows.append(torch.cat([gradient.flatten() for gradient in row]))
        (WEIGHTS[name] * means[name] * size / 37).backward(inputs=list(twin[name].parameters()), retain_graph=True)
    parts = aggregator("upgrad")(torch.stack(rows)).split([leaf.numel() for leaf in leaves])
    for found, start, part in zip(inventory_of(model["a"]).values(), leaves, parts, strict=True):
        torch.testing.assert_close(found, start - 0.1 * part.reshape(start.shape), rtol=1e-3, atol=1e-5)
    for name in SIZES:
        for mine, theirs in zip(model[name].parameters(), twin[name].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad, rtol=1e-4, atol=1e-6)  # type: ignore[operator]


def test_learned_weights_weigh_a_penalty_as_they_weigh_the_loss() -> None:
    model, twin = team(SHARED), team(SHARED)
    changes = {"weighting": "uncertainty", "uncertainty": SGD, "task_weights": WEIGHTS}
    result = train_together(model, sets(), ONE_STEP.model_copy(update=changes))
    means, added = mean_losses(twin), penalised(twin, 0.0)
    whole = {name: WEIGHTS[name] * (means[name] * size / 37 + added[name]) for name, size in SIZES.items()}
    step_by_hand(twin, sum((0.5 * one for one in whole.values()), torch.zeros(())))
    for key, tensor in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], tensor, rtol=1e-4, atol=1e-6)
    for name, one in whole.items():
        s = 0.1 * 0.5 * (one.item() - 1)
        assert result.curve[0]["weights"][name] == pytest.approx(WEIGHTS[name] * 0.5 * math.exp(-s), rel=1e-5)


def test_mixed_precision_leaves_a_penalty_in_full_precision(tmp_path: Path) -> None:
    model, twin = team(SHARED), team(SHARED)
    train_together(model, sets(), QUICK.model_copy(update={"precision": "bf16", "log_every": 1}), folder=tmp_path)
    first = next(line for line in lines(tmp_path) if line["event"] == "step")
    assert first["penalty"] == {name: one.item() for name, one in penalised(twin, 0.0).items()}


def test_in_a_phase_that_does_not_train_what_it_rests_on_a_penalty_is_told_and_moves_nothing(tmp_path: Path) -> None:
    model = team(SPARSE)
    before = {name: [leaf.detach().clone() for leaf in factors(model[name])] for name in SIZES}
    phases = (Phase(("head",)),)
    train_together(model, sets(), QUICK.model_copy(update={"phases": phases}), folder=tmp_path)
    for name in SIZES:
        assert all(map(torch.equal, factors(model[name]), before[name]))
    assert all("penalty" in line for line in lines(tmp_path) if line["event"] == "step")
    turns = (Turn(("head",), own_loss=True), Turn())
    alternating = JointSettings(epochs=1, phases=(Phase(turns=turns),), select_by="loss")
    point = train_together(model, sets(), alternating).curve[0]
    assert point["passes"][0]["tasks"]["a"]["penalty"] > 0
    assert point["tasks"]["a"]["penalty"] > 0


def test_a_penalty_trains_where_the_losses_rest_on_nothing_that_does() -> None:
    leaf = nn.Parameter(torch.tensor([1.0, -2.0]))
    gradients = Plain.of([leaf], [3.0], _processes.start("no"))
    gradients(Losses(torch.ones(4), torch.zeros(4, dtype=torch.long), 4, live=False, penalties={0: leaf.abs().sum()}))
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [3.0, -3.0]


def test_samples_that_serve_all_tasks_have_the_penalties_of_those_with_a_target(tmp_path: Path) -> None:
    settings = JointSettings(epochs=1, batch_size=2, select_by="loss", log_every=1)
    train_together(team(SHARED), images(), settings, objective=losses, collate=collate, folder=tmp_path)
    said = [{*line.get("penalty", {})} for line in lines(tmp_path) if line["event"] == "step"]
    assert len(said) == 15
    assert {frozenset(names) for names in said} >= {frozenset("a"), frozenset("ab")}


@dataclass(frozen=True)
class Wrong(LoRA):
    """Penalties that there cannot be."""

    what: str = ""
    name: ClassVar[str] = "toy-wrong"

    def penalty(self, task: Task, progress: float) -> Any:
        leaf = factors(task)[0]
        if self.what == "freezes":
            leaf.requires_grad_(False)
        if self.what == "writes":
            LAYERS[0].weight.data.mul_(1.01)
        found = {"vector": leaf.abs().sum(0), "number": 1.0, "nan": leaf.sum() * float("nan")}
        return {**found, "detached": leaf.detach().sum(), "zero": torch.zeros(())}.get(self.what, leaf.sum())


LAYERS: list[nn.Linear] = []


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("vector", r"penalty of method 'toy-wrong' must be None or a scalar.*found \[2\] for task 'a'"),
        ("number", r"must be None or a scalar.*found float for task 'a'"),
        ("nan", r"task 'a': the penalty is nan at step 1"),
        (
            "detached",
            r"penalty of method 'toy-wrong' is a scalar without a gradient for task 'a'; compute it of the task",
        ),
        ("zero", r"without a gradient for task 'a'; .* or return None where there is none"),
        ("freezes", r"penalty of method 'toy-wrong' has frozen 'tasks.*'; it may read, and write to nothing"),
        ("writes", r"penalty of method 'toy-wrong' has written to 'backbone.1.weight'; it may read"),
    ],
)
def test_a_penalty_that_cannot_be_is_refused(what: str, message: str) -> None:
    model = team(Wrong(rank=2, what=what))
    LAYERS[:] = [model.backbone[1]]  # type: ignore[index,operator]
    with pytest.raises(DivergedError if what == "nan" else ValueError, match=message):
        train_together(model, sets(), QUICK)

"""Samples that serve several tasks at once: one pass over the data, for any set of targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from taskfold import HardSharing, LoRA, Method, MultiTask, OverParameterised, Poly
from taskfold.evaluate import evaluate
from taskfold.train import CheckpointError, JointSettings, OptimizerSettings, TaskSet, group_rates, train_together

from .images import NAMES, Images, Watched, collate, images, losses
from .joint import ONE_STEP, PRIVATE, QUICK, SGD, SHARED, everything, sets, team

ADAMW = OptimizerSettings(optimizer="adamw", lr=0.05, weight_decay=0.1)
MOMENTUM = OptimizerSettings(optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.1)
MIXED = {"factors": ADAMW, "head": MOMENTUM}
BY_LOSS = QUICK.model_copy(update={"select_by": "loss"})


def quick(**changes: Any) -> JointSettings:
    return BY_LOSS.model_copy(update=changes)


def train(model: MultiTask, data: Any = None, settings: JointSettings = BY_LOSS, **changes: Any) -> Any:
    chosen = {"objective": losses, "collate": collate, **changes}
    return train_together(model, data or images(), settings, **chosen)


def summed(model: MultiTask, data: Images, task: str) -> tuple[Tensor, int]:
    """Of one task by itself, the sum of its losses and how many there are."""
    there = [(x, y[task]) for x, y in (data[index] for index in range(len(data))) if task in y]
    outputs = model(torch.stack([x for x, _ in there]), task=task)
    return F.cross_entropy(outputs, torch.tensor([y for _, y in there]), reduction="sum"), len(there)


@pytest.mark.parametrize("method", [SHARED, PRIVATE, Poly(rank=2, skills=3)], ids=["shared", "private", "poly"])
def test_a_step_is_along_the_gradient_of_all_losses_over_the_samples_of_the_batch(method: Method) -> None:
    weights = {"a": 0.5, "c": 3.0}
    model, oracle = team(method), team(method)
    settings = ONE_STEP.model_copy(update={"batch_size": 30, "task_weights": weights})
    optimizers = dict.fromkeys(group_rates(model, NAMES), SGD)
    train(model, settings=settings.model_copy(update={"optimizers": optimizers}))
    oracle.train()
    total = sum(weights.get(task, 1.0) * summed(oracle, Images(30), task)[0] for task in NAMES) / 30
    total.backward()  # type: ignore[union-attr]
    found = dict(model.named_parameters())
    for key, start in oracle.named_parameters():
        if start.grad is not None:
            torch.testing.assert_close(found[key], start - 0.1 * start.grad, rtol=1e-4, atol=1e-6)
    assert sum(p.grad is not None for p in oracle.parameters()) > 6


@pytest.mark.parametrize("optimiser", [ADAMW, MOMENTUM], ids=["adamw", "sgd"])
@pytest.mark.parametrize("method", [SHARED, LoRA(rank=2, norm=True, statistics="own")], ids=["shared", "norm"])
def test_nothing_moves_of_a_task_that_no_sample_of_the_batch_has_a_target_for(
    method: Method, optimiser: OptimizerSettings
) -> None:
    model, watched = team(method, norm=method.norm), Watched()
    optimizers = dict.fromkeys(group_rates(model, NAMES), optimiser)
    settings = quick(batch_size=2, epochs=2, schedule="constant", reestimate_norm=False, optimizers=optimizers)
    train(model, settings=settings, objective=watched)
    for before, after, moved in zip(watched.names, watched.names[1:], watched.moved(), strict=False):
        for name in NAMES:
            mine = {key for key in moved if key.startswith(f"tasks.{name}.")}
            # Statistics move in the forward pass, the rest in the step after it: between two forward passes, both.
            running = {key for key in mine if "running" in key or "num_batches" in key}
            assert bool(mine - running) == (name in before)
            assert bool(running) == (method.norm and name in after)
    absent = [sum(name not in names for names in watched.names) for name in NAMES]
    assert min(absent[1:]) > 3


@pytest.mark.parametrize("changes", [{}, {"balance": "upgrad"}, {"weighting": "uncertainty"}], ids=str)
def test_a_batch_without_any_target_moves_nothing(changes: dict[str, Any]) -> None:
    class Blank(Images):
        def targets(self, index: int) -> dict[str, int]:
            return super().targets(index) if index < 10 else {}

    watched = Watched()
    data = {NAMES: TaskSet(Blank(40), Images(20))}
    lengths = {"batch_size": 2, "max_steps": 20, "steps_per_epoch": 1}
    settings = quick(optimizers=MIXED, clip_norm=1.0, schedule="constant", **lengths, **changes)
    result = train(team(), data, settings, objective=watched)
    blank = [not names for names in watched.names]
    assert sum(blank) > 3
    assert [not moved for moved in watched.moved()] == blank[:-1]
    weights = [point.get("weights") for point in result.curve]
    if "weighting" in changes:
        same = [before == after for before, after in pairwise(weights)]
        assert same == blank[1:]


def test_losses_of_no_sample_are_no_losses() -> None:
    """A task that was run, but none of whose rows count, does not move either."""

    def hollow(model: MultiTask, batch: Any, tasks: Sequence[str]) -> dict[str, Tensor]:
        outputs = model(batch["x"], task=list(tasks), broadcast=True)
        none = {task: outputs[task].sum(1)[:0] for task in tasks}
        return none | watched(model, batch, tasks)

    watched = Watched()
    settings = quick(batch_size=2, epochs=1, optimizers=MIXED, schedule="constant")
    train(team(PRIVATE), settings=settings, objective=hollow)
    for names, moved in zip(watched.names, watched.moved(), strict=False):
        assert {key.split(".")[1] for key in moved} == names
    assert sum("c" not in names for names in watched.names) > 3


def test_validation_is_the_mean_over_the_samples_that_have_a_target() -> None:
    model = team()
    result = train(model, settings=quick(batch_size=8))
    with torch.no_grad():
        for name in NAMES:
            total, number = summed(model, Images(20, 1), name)
            assert result.tasks[name]["val_loss"] == pytest.approx(total.item() / number, rel=1e-5)
    assert result.best["val_loss"] == pytest.approx(sum(result.tasks[name]["val_loss"] for name in NAMES) / 3)


def test_training_losses_are_means_over_targets_and_what_a_step_minimises() -> None:
    rate = OptimizerSettings(optimizer="sgd", lr=1e-12, momentum=0.0)
    model = team()
    weights = {"a": 1.0, "b": 2.0, "c": 0.5}
    settings = quick(epochs=1, optimizers={"factors": rate, "head": rate}, batch_size=10, task_weights=weights)
    point = train(model, settings=settings).curve[0]
    found = {name: summed(model, Images(30), name) for name in NAMES}
    for name, (total, number) in found.items():
        assert point["tasks"][name]["train_loss"] == pytest.approx(total.item() / number, rel=1e-4)
    total = sum(weights[name] * found[name][0].item() for name in NAMES) / 30
    assert point["train_loss"] == pytest.approx(total, rel=1e-4)


def test_a_measure_of_ones_own_is_averaged_by_task() -> None:
    def measure(model: MultiTask, batch: Any, tasks: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        return {
            task: {"loss": values, "accuracy": (values < 0.5).float()}
            for task, values in losses(model, batch, tasks).items()
        }

    model = team()
    result = train(model, settings=QUICK, measure=measure)
    with torch.no_grad():
        values = losses(model.eval(), collate([Images(20, 1)[n] for n in range(20)]), ["b"])["b"]
    assert result.tasks["b"]["val_accuracy"] == pytest.approx((values < 0.5).float().mean().item())


@pytest.mark.parametrize("when", [(0, 3), (1, 7), (2, 29)])
@pytest.mark.parametrize("method", [SHARED, OverParameterised(rank=2)], ids=["shared", "over-parameterised"])
def test_an_interrupted_run_goes_on_to_the_same_bits(method: Method, when: tuple[int, int], tmp_path: Path) -> None:
    whole = team(method, norm=True)
    result = train(whole, settings=quick(log_every=1))
    with pytest.raises(KeyboardInterrupt):
        train(team(method, norm=True), images(stop=when), quick(log_every=1), folder=tmp_path)
    other = team(method, norm=True, seed=3)
    later = train(other, settings=quick(log_every=1), folder=tmp_path)
    assert later.resumed
    assert everything(other) == everything(whole)
    assert later.best == result.best
    with pytest.raises(CheckpointError, match="together was True"):
        train_together(team(method, norm=True), sets(), QUICK, folder=tmp_path)


def test_own_statistics_are_estimated_anew_on_the_samples_of_the_task() -> None:
    model = team(LoRA(rank=2, norm=True, statistics="own"), norm=True)
    result = train(model, settings=quick(epochs=1, norm_momentum=None))
    assert any(found["reestimated"] for found in result.tasks.values())
    with torch.no_grad():
        for name in NAMES:
            total, number = summed(model, Images(20, 1), name)
            assert result.tasks[name]["val_loss"] == pytest.approx(total.item() / number, rel=1e-5)


@pytest.mark.parametrize("misleading", [False, True])
def test_common_statistics_are_estimated_anew_for_all_tasks_or_for_none(misleading: bool) -> None:
    model, train_set, plain, val = team(HardSharing(), norm=True), Images(30), Images(30), Images(20, 1)
    for one in (train_set, plain, val):
        one.inputs = one.inputs * 5 + 20
    plain.inputs = plain.inputs - (100 if misleading else 0)
    data = {NAMES: TaskSet(train_set, val, plain=plain)}
    # Statistics that barely move are stale at the end, unless they are estimated anew.
    result = train(model, data, quick(epochs=2, norm_momentum=0.5 if misleading else 0.001))
    assert {found["reestimated"] for found in result.tasks.values()} == {not misleading}
    with torch.no_grad():
        for name in NAMES:
            total, number = summed(model, val, name)
            assert result.tasks[name]["val_loss"] == pytest.approx(total.item() / number, rel=1e-5)


@pytest.mark.parametrize("misled", ["none", "a", "c"])
def test_so_they_are_where_each_task_has_its_own_samples(misled: str) -> None:
    model, data = team(HardSharing(), norm=True), sets()
    if misled != "none":
        inputs, targets = data[misled].train[:]
        data[misled] = replace(data[misled], plain=TensorDataset(inputs - 100, targets))
    result = train_together(model, data, quick(epochs=2, norm_momentum=0.001))
    assert len({found["reestimated"] for found in result.tasks.values()}) == 1
    for name, one in data.items():
        assert evaluate(model, name, one.val).loss == pytest.approx(result.tasks[name]["val_loss"], rel=1e-5)


class Without(Images):
    """Has no target for a task."""

    def targets(self, index: int) -> dict[str, int]:
        return {name: target for name, target in super().targets(index).items() if name != "c"}


def foreign(*_: Any) -> dict[str, Tensor]:
    return {"d": torch.zeros(1)}


def scalar(*_: Any) -> dict[str, Tensor]:
    return {"a": torch.zeros(())}


def whole(*_: Any) -> Tensor:
    return torch.zeros(8)


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        ({("a", "b"): None, ("c",): None}, {}, r"\('a', 'b'\) must be the only key, found 2.*ConcatDataset"),
        ({("a", "b"): None, "c": None}, {}, "must be the only key"),
        ({("a", "a", "b", "c"): None}, {}, "each once"),
        ({(): None}, {}, "at least one task"),
        ({("a", "b"): None}, {}, "train it along"),
        ({NAMES: None}, {"objective": None}, "objective must be given"),
        ({NAMES: None}, {"objective": foreign}, r"values by task, of \['a', 'b', 'c'\], found \['d'\]"),
        ({NAMES: None}, {"objective": whole}, "found Tensor"),
        ({NAMES: None}, {"objective": scalar}, r"\[n ≤ 1\], found \[\] for 'a'"),
        ({NAMES: None}, {"settings": quick(select_by="accuracy")}, "select_by='accuracy' needs measure"),
        ({NAMES: None}, {"settings": quick(sampling="uniform")}, "sampling='uniform'.*leave it out"),
        ({NAMES: Without}, {}, "task 'c': no sample of val has a target"),
        ({NAMES: Dataset}, {}, "map-style"),
    ],
)
def test_what_cannot_work_says_so(
    data: dict[Any, Callable[..., Any] | None], changes: dict[str, Any], message: str
) -> None:
    model = team()
    before = everything(model)
    kinds = {key: Images(20) if kind is None else kind() if kind is Dataset else kind(20) for key, kind in data.items()}
    with pytest.raises((ValueError, TypeError), match=message):
        train(model, {key: TaskSet(found, found) for key, found in kinds.items()}, **changes)
    assert everything(model) == before


def test_a_task_that_nothing_is_for_is_not_said_to_be_trained() -> None:
    with pytest.raises(ValueError, match="task 'c': none of the training samples has a target for it; leave it out"):
        train(team(), {NAMES: TaskSet(Without(20), Images(20))})

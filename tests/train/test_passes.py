"""Two passes in an epoch: each trains its groups, and nothing else moves by a bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from taskfold import HeadOnly, LoRA, Method, MultiTask, OverParameterised, Poly, TensorPolyI
from taskfold.methods import Phase, Turn
from taskfold.train import (
    CheckpointError,
    JointSettings,
    OptimizerSettings,
    Settings,
    TaskSet,
    group_rates,
    train_task,
    train_together,
)

from .cases import QUICK as CASES_QUICK
from .images import NAMES, Images, Watched, collate, images, losses
from .joint import ONE_STEP, PRIVATE, QUICK, SGD, everything, points, sets, team

OVER = OverParameterised(rank=3, diagonals=2)
POLY = Poly(rank=2, skills=3)
DECAY = OptimizerSettings(optimizer="adamw", lr=0.05, weight_decay=0.1)
GROUPS = ("factors", "routing", "diagonal", "norm", "head")
BY_LOSS = QUICK.model_copy(update={"select_by": "loss", "optimizers": dict.fromkeys(GROUPS, DECAY)})


def quick(**changes: Any) -> JointSettings:
    return JointSettings.model_validate({**dict(BY_LOSS), **changes})


def alternating(*groups: str, alone: int = 0) -> dict[str, Any]:
    """These groups first in each epoch, each task by its own loss, and then the rest; at the start these alone."""
    turn = Turn(groups, own_loss=True)
    warm_up = (Phase(turns=(turn,), epochs=alone),) if alone else ()
    return {"phases": (*warm_up, Phase(turns=(turn, Turn())))}


def train(model: MultiTask, settings: JointSettings, **changes: Any) -> Any:
    own = {"tasks": images(), "objective": losses, "collate": collate, **changes}
    return train_together(model, **own, settings=settings.only(group_rates(model, NAMES)))


def of_groups(model: MultiTask, groups: tuple[str, ...]) -> set[str]:
    """Names of the tasks' own parameters of these groups."""
    those = {id(p) for name in NAMES for group in groups for p in model[name].groups().get(group, [])}
    return {key for key, p in model.named_parameters(remove_duplicate=False) if id(p) in those}


CASES = {
    "diagonals": (OVER, True, ("diagonal",)),
    "routing": (POLY, False, ("routing",)),
    "routing and head": (TensorPolyI(rank=2, tensor_rank=2, order=2), False, ("routing", "head")),
    "private factors": (LoRA(rank=2, norm=True), True, ("factors",)),
}


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        *((case, {}) for case in CASES),
        *((case, {"weighting": "uncertainty"}) for case in CASES),
        *((case, {"balance": "upgrad"}) for case in CASES if case != "private factors"),
    ],
    ids=str,
)
def test_each_pass_moves_only_what_is_its(case: str, changes: dict[str, Any]) -> None:
    method, norm, groups = CASES[case]
    model, watched = team(method, norm=norm), Watched()
    lengths = {"epochs": 3, "batch_size": 10, "reestimate_norm": False}
    settings = quick(**alternating(*groups, alone=1), clip_norm=1.0, **lengths, **changes)
    needed = {key: p.requires_grad for key, p in model.named_parameters()}
    train(model, settings, objective=watched)
    assert {key: p.requires_grad for key, p in model.named_parameters()} == needed
    first = of_groups(model, groups)
    rest = {key for key, trained in needed.items() if trained} - first
    passes = [0, 0, 1, 0, 1]
    assert len(watched.trained) == 3 * len(passes)
    moved_in: tuple[set[str], set[str]] = set(), set()
    for step, moved in enumerate(watched.moved()):
        turn = passes[step // 3]
        parameters = moved & (first | rest)  # beside them running statistics move
        assert watched.trained[step] == (rest if turn else first)
        assert parameters <= (rest if turn else first)
        moved_in[turn].update(parameters)
    assert moved_in == (first, rest)


def test_what_does_not_train_in_a_pass_needs_no_gradient_and_its_statistics_move() -> None:
    model, watched = team(OVER, norm=True), Watched()
    settings = quick(**alternating("diagonal"), epochs=1, batch_size=10, reestimate_norm=False)
    train(model, settings, objective=watched)
    first = of_groups(model, ("diagonal",))
    assert [trained == first for trained in watched.trained] == [True] * 3 + [False] * 3
    assert not any(trained & first for trained in watched.trained[3:])
    for moved, run in zip(watched.moved(), watched.names[1:], strict=True):
        for name in NAMES:
            running = {key for key in moved if key.startswith(f"tasks.{name}.") and "running_mean" in key}
            assert bool(running) == (name in run)


@pytest.mark.parametrize("changes", [{}, {"task_weights": {"a": 5.0, "b": 0.0}}, {"weighting": "uncertainty"}], ids=str)
def test_alone_each_trains_by_its_own_tasks_loss_whatever_the_weights(changes: dict[str, Any]) -> None:
    model, oracle = team(OVER), team(OVER)
    same = {"batch_size": 30, "max_steps": None, "epochs": 1, "task_weights": {}}
    optimizers = dict.fromkeys(GROUPS, SGD)
    one = ONE_STEP.model_copy(update={**same, **alternating("diagonal"), "optimizers": optimizers, **changes})
    watched = Watched()
    train(model, one, objective=watched)
    after = watched.before[1]
    data = Images(30)
    oracle.train()
    batch = collate([data[index] for index in range(30)])
    for name in NAMES:
        values = losses(oracle, batch, [name])[name]
        diagonals = oracle[name].groups()["diagonal"]
        gradients = torch.autograd.grad(values.sum() / 30, diagonals)
        names = {id(p): key for key, p in oracle.named_parameters()}
        for diagonal, gradient in zip(diagonals, gradients, strict=True):
            wanted = (diagonal - 0.1 * gradient).detach()
            found = torch.frombuffer(bytearray(after[names[id(diagonal)]]), dtype=torch.float32).reshape(wanted.shape)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_passes_draw_orders_of_their_own() -> None:
    data = images()
    train(team(POLY), quick(**alternating("routing", alone=1), epochs=3), tasks=data)
    drawn: Any = next(iter(data.values())).train
    orders = [[index for number, index in drawn.drawn if number == n] for n in range(5)]
    assert [sorted(order) for order in orders] == [list(range(30))] * 5
    assert len({*map(tuple, orders)}) == 5
    assert len(drawn.drawn) == 5 * 30


def test_with_data_of_each_task_too() -> None:
    model = team(POLY)
    settings = quick(**alternating("routing"), epochs=2, select_by="accuracy")
    result = train_together(model, sets(), settings.only(group_rates(model, NAMES)))
    assert [point["step"] for point in result.curve] == [10, 20]


UNCERTAIN, BALANCED = {"weighting": "uncertainty"}, {"balance": "upgrad"}


@pytest.mark.parametrize(
    ("when", "changes"),
    [((0, 3), {}), ((1, 7), UNCERTAIN), ((2, 0), UNCERTAIN), ((3, 5), BALANCED), ((4, 29), UNCERTAIN)],
    ids=str,
)
def test_interrupted_in_any_pass_it_goes_on_to_the_same_bits(
    when: tuple[int, int], changes: dict[str, Any], tmp_path: Path
) -> None:
    settings = quick(**alternating("diagonal", alone=1), epochs=3, log_every=1, **changes)
    whole = team(OVER, norm=True)
    result = train(whole, settings, folder=tmp_path / "whole")
    model = team(OVER, norm=True)
    with pytest.raises(KeyboardInterrupt):
        train(model, settings, tasks=images(stop=when), folder=tmp_path / "cut")
    assert all(p.grad is None for p in model.parameters())
    assert all(p.requires_grad for name in NAMES for p in model[name].parameters())
    other = team(OVER, norm=True, seed=3)
    later = train(other, settings, folder=tmp_path / "cut")
    assert later.resumed
    assert everything(other) == everything(whole)
    assert [timeless(point) for point in later.curve] == [timeless(point) for point in result.curve]
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    again = train(team(OVER, norm=True, seed=4), settings, folder=tmp_path / "cut")
    assert again.as_json() == later.as_json()
    with pytest.raises(CheckpointError, match=r"phases was .*'epochs': 1.*, is now .*'epochs': 2"):
        train(other, settings.model_copy(update=alternating("diagonal", alone=2)), folder=tmp_path / "cut")


def test_the_log_and_the_curve_say_which_pass_it_was(tmp_path: Path) -> None:
    settings = quick(**alternating("diagonal", alone=1), epochs=2, log_every=100)
    result = train(team(OVER), settings, folder=tmp_path)
    said = [(line["epoch"], line["pass"], line["step"]) for line in lines(tmp_path) if line["event"] == "step"]
    assert said == [(1, "diagonal", 4), (2, "diagonal", 8), (2, "rest", 12)]
    assert ["passes" in point for point in result.curve] == [False, True]
    (first,) = result.curve[1]["passes"]
    assert (first["pass"], first["train_loss"] > 0) == ("diagonal", True)
    assert {*first["tasks"]} == {*NAMES}
    # Rates fall over all steps of both passes: one factor for every kind.
    ratios = [line["lr"]["diagonal"] for line in lines(tmp_path) if line["event"] == "step"]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > ratios[1] > ratios[2]


def test_a_training_by_steps_may_end_within_a_pass() -> None:
    settings = quick(**alternating("routing"), max_steps=9, epochs=1)
    result = train(team(POLY), settings)
    assert [point["step"] for point in result.curve] == [8, 9]
    assert "passes" not in result.curve[1]


def test_a_task_that_has_nothing_in_a_pass_waits_for_the_other() -> None:
    model = team(POLY)
    model.add_task("plain", 2, method=PRIVATE)
    both = sets() | {"plain": TaskSet(points("a", 20), points("a", 7, 1))}
    settings = quick(**alternating("routing"), batch_size=2, epochs=1, select_by="accuracy", optimizers={})
    before = everything(model)
    train_together(model, both, settings)
    after = everything(model)
    assert all(before[key] != after[key] for key in before if key.startswith("tasks.plain."))


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (POLY, alternating("diagonal"), r"name 'diagonal'.*there are: factors, head, routing"),
        (POLY, alternating("head", "factors", "routing"), "leave nothing for the turn 'rest'"),
        (POLY, {"phases": [{"groups": ["uncertainty"]}], "weighting": "uncertainty"}, "name 'uncertainty'"),
        (
            POLY,
            {**alternating("factors"), "balance": "upgrad"},
            "balance='upgrad' needs something that the tasks share",
        ),
        (
            POLY,
            {**alternating("routing", alone=2), "max_steps": 9},
            "9 steps end before rest has trained, in phase 2 of 2 passes of 4 steps",
        ),
        (
            POLY,
            {"phases": (Phase(turns=(Turn(own_loss=True),)),), "weighting": "uncertainty"},
            "weighting='uncertainty'.* no meaning where every turn of the phases has own_loss",
        ),
    ],
)
def test_what_cannot_alternate_says_so(method: Method, changes: dict[str, Any], message: str) -> None:
    model = team(method)
    before = everything(model)
    with pytest.raises(ValueError, match=message):
        train(model, quick(**changes))
    assert everything(model) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (alternating("head", alone=3), "phases say 3 epochs and leave one phase open, and epochs=3"),
        ({"weighting": "uncertainty", "balance": "upgrad"}, "does not go with weighting='uncertainty'"),
        ({"uncertainty": {"lr": 1.0}}, "uncertainty is the optimiser of weighting='uncertainty'"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JointSettings.model_validate({"epochs": 3, **wrong})


def test_joint_settings_survive_json_and_are_described() -> None:
    settings = JointSettings(**alternating("diagonal", alone=1), weighting="uncertainty")
    assert JointSettings.model_validate_json(settings.model_dump_json()) == settings
    assert JointSettings.model_validate_json(JointSettings().model_dump_json()) == JointSettings()
    assert all(field.description for field in JointSettings.model_fields.values())


def test_a_single_task_has_phases_too(tmp_path: Path) -> None:
    phases = [Phase(("head",), epochs=1), Phase(turns=(Turn(("factors",)), Turn())), Phase(epochs=1)]
    settings = Settings.model_validate({**dict(CASES_QUICK), "epochs": 4, "phases": phases})
    result = train_task(team(PRIVATE), "a", points("a", 20), points("a", 7), settings, folder=tmp_path)
    said = [(line["epoch"], line["pass"]) for line in lines(tmp_path) if line["event"] == "step"]
    assert list(dict.fromkeys(said)) == [
        (1, "head"), (2, "factors"), (2, "rest"), (3, "factors"), (3, "rest"), (4, "all")
    ]  # fmt: skip
    assert [[one["pass"] for one in point.get("passes", [])] for point in result.curve] == [[], *[["factors"]] * 2, []]
    assert all("tasks" not in one for point in result.curve for one in point.get("passes", []))
    with pytest.raises(ValueError, match=r"weighting='uncertainty' is of train_together"):
        train_task(team(PRIVATE), "a", points("a", 20), points("a", 7), quick(weighting="uncertainty"))


def test_a_task_that_no_phase_trains_is_refused() -> None:
    model = team(POLY)
    model.add_task("plain", None, method=LoRA(rank=2, init="normal"))
    both = sets() | {"plain": TaskSet(points("a", 20), points("a", 7, 1))}
    with pytest.raises(ValueError, match="task 'plain': no phase trains any of its parameters"):
        train_together(model, both, JointSettings(phases=(Phase(("head", "routing")),)))


def test_an_optimiser_of_a_group_that_no_phase_trains_is_refused() -> None:
    changes = {"optimizers": {"factors": SGD}, "phases": (Phase(("head",)),)}
    with pytest.raises(ValueError, match="optimizers lists 'factors', and no phase trains parameters of that group"):
        train_together(team(PRIVATE), sets(), QUICK.model_copy(update=changes))


def test_patience_ends_no_training_before_its_last_phase() -> None:
    still = {"head": OptimizerSettings(lr=1e-30)}
    changes = {"epochs": 9, "patience": 2, "optimizers": still, "phases": [{"groups": ["head"], "epochs": 4}, {}]}
    settings = Settings.model_validate({**dict(CASES_QUICK), **changes})
    result = train_task(team(HeadOnly()), "a", points("a", 20), points("a", 7), settings)
    assert (result.stopped, result.best_epoch, len(result.curve)) == ("early", 1, 6)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [timeless(json.loads(line)) for line in (folder / "log.jsonl").read_text().splitlines()]


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("time", "seconds", "samples_per_second")}

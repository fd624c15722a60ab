"""Phases of a method against a loop written out by hand; progress; and the lookup of a task's method."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor

from taskfold import LoRA, MultiTask
from taskfold.methods import Phase, Turn, method_of
from taskfold.train import (
    JointSettings,
    TaskSet,
    train_together,
)

from .by_hand import STEADY, Recording, lines, step_by_hand, watch
from .classes import classification
from .joint import PRIVATE, QUICK, everything, points, sets, team
from .toys import InTurn, Sparse

SPARSE = Sparse(rank=2, init="normal")


def test_progress_goes_from_nought_to_one_and_is_one_outside() -> None:
    model = team(PRIVATE)
    assert model.progress == 1.0
    seen = Recording(model)
    settings = QUICK.model_copy(update={"select_by": "loss"})
    train_together(model, sets(), settings, objective=seen)
    assert seen.progress == [step / 15 for step in range(15)]
    assert {*seen.outside} == {1.0}
    assert model.progress == 1.0

    def broken(model: MultiTask, batch: Any, tasks: Sequence[str]) -> Tensor:
        if model.progress > 0.5:
            raise KeyboardInterrupt
        return classification().loss(model, batch, tasks)

    with pytest.raises(KeyboardInterrupt):
        train_together(model, sets(), settings, objective=broken)
    assert model.progress == 1.0
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="progress must be from 0 to 1"):
            model.progress = wrong


def test_the_phases_of_a_method_are_trained_in_order_and_settings_overrule(tmp_path: Path) -> None:
    method = InTurn(rank=2, init="normal")
    model, twin = team(method), team(method)
    seen = Recording(model)
    settings = JointSettings(**{**STEADY, "epochs": 4, "batch_size": 10})  # type: ignore[arg-type]
    train_together(model, {"a": sets()["a"]}, settings, objective=seen, folder=tmp_path)
    groups = twin["a"].groups()
    phases = [groups["factors"], groups["head"], groups["head"], [*groups["factors"], *groups["head"]]]
    mine: list[bytes] = []
    watch(twin, mine)
    for step, (batch, tasks) in enumerate(seen.batches):
        trained = {id(parameter) for parameter in phases[step // 2]}
        for parameter in twin["a"].parameters():
            parameter.requires_grad_(id(parameter) in trained)
        step_by_hand(twin, classification().loss(twin.train(), batch, tasks).sum() / 10)
    assert sorted(seen.gradients) == sorted(mine)
    assert everything(model) == everything(twin)
    said = [line["pass"] for line in lines(tmp_path) if line["event"] == "step"]
    assert said == ["factors"] * 2 + ["head"] * 4 + ["all"] * 2
    other = team(method)
    train_together(other, {"a": sets()["a"]}, settings.model_copy(update={"phases": (Phase(),)}))
    plain = team(PRIVATE)
    train_together(plain, {"a": sets()["a"]}, settings)
    assert everything(other) == everything(plain)


def test_methods_that_name_different_phases_need_to_be_told() -> None:
    model = team(InTurn(rank=2, init="normal"))
    model.add_task("plain", 2, method=PRIVATE)
    both = sets() | {"plain": TaskSet(points("a", 20), points("a", 7, 1))}
    with pytest.raises(ValueError, match=r"tasks 'a' \(toy-in-turn\) and 'plain' \(lora\) name different phases"):
        train_together(model, both, QUICK.model_copy(update={"epochs": 5}))
    train_together(model, both, QUICK.model_copy(update={"phases": (Phase(("head",), epochs=1), Phase())}))
    with pytest.raises(ValueError, match="phases say 3 epochs and leave one phase open, and epochs=3"):
        train_together(team(InTurn(rank=2)), sets(), QUICK)


@dataclass(frozen=True)
class Loose(LoRA):
    """Phases that there cannot be."""

    what: Any = ()
    name: ClassVar[str] = "toy-loose"

    @property
    def phases(self) -> Any:
        return self.what


@pytest.mark.parametrize("what", [Phase(), ("head",), "head", None, (Phase(epochs=1), "head")], ids=repr)
def test_phases_of_a_method_are_phases(what: Any) -> None:
    said = r"phases of method 'toy-loose' must be a tuple of Phase, such as .*, found "
    with pytest.raises(TypeError, match=said + re.escape(repr(what))):
        Loose(rank=2, what=what)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Phase("head"), r"groups must be a tuple of names, such as \('head',\), found 'head'"),  # type: ignore[arg-type]
        (lambda: Turn("head"), r"groups must be a tuple of names, such as \('head',\), found 'head'"),  # type: ignore[arg-type]
        (lambda: Phase((1,)), r"groups must be a tuple of names, .* found \(1,\)"),  # type: ignore[arg-type]
        (lambda: Phase(turns=Turn()), r"turns must be a tuple of Turn, such as .* found Turn"),  # type: ignore[arg-type]
        (lambda: Phase(turns=("head",)), r"turns must be a tuple of Turn, such as .* found \('head',\)"),  # type: ignore[arg-type]
        (lambda: Phase(epochs=1.5), r"epochs must be a whole number ≥ 1, or None, found 1.5"),  # type: ignore[arg-type]
    ],
)
def test_phases_are_made_of_names(build: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        build()


def test_a_tasks_method_is_found_with_its_settings() -> None:
    model = team(SPARSE)
    task = model.add_task("weak", 2, strength=0.5, targets=["1", "3"])
    assert method_of(task) == Sparse(rank=2, init="normal", strength=0.5, targets=("1", "3"))
    assert method_of(model["a"]) == SPARSE

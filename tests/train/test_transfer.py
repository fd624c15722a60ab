"""A task that was added onto a trained inventory learns by itself, and moves nothing of what it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from taskfold import MultiTask, Poly
from taskfold.layers import inventory_of
from taskfold.train import CheckpointError, OptimizerSettings, train_task, train_together

from .joint import QUICK, everything, points, sets, team

METHOD = Poly(rank=2, skills=3, init="normal")
FAST = OptimizerSettings(lr=0.05, optimizer="adamw", weight_decay=0.1)
SETTINGS = QUICK.model_copy(update={"factors": FAST, "head": FAST, "epochs": 2})
MOVED = {"z": {"routing", "head"}, "all": {"routing", "factors", "head"}, "mu": {"factors", "head"}}


def grown(mode: str) -> MultiTask:
    model = team(METHOD)
    torch.manual_seed(1)
    model.transfer_task("new", 2, mode=mode)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize("mode", MOVED)
def test_only_what_the_mode_says_moves(mode: str) -> None:
    model = grown(mode)
    before, x = everything(model), points("a", 4).tensors[0]
    said = model.eval()(x, task="b")
    groups = {kind: [p.detach().clone() for p in own] for kind, own in model["new"].groups().items()}
    train_task(model, "new", points("a", 20), points("a", 7, 1), SETTINGS)
    after = everything(model)
    assert {key for key in before if before[key] != after[key]} <= {k for k in before if k.startswith("tasks.new.")}
    pairs = {kind: zip(groups[kind], own, strict=True) for kind, own in model["new"].groups().items()}
    moved = {kind for kind, own in pairs.items() if any(not torch.equal(old, new) for old, new in own)}
    assert moved == MOVED[mode]
    assert torch.equal(model(x, task="b"), said)


def test_the_inventory_gathers_no_gradient_and_is_as_it_was() -> None:
    model = grown("z")
    leaves = list(inventory_of(model["new"]).values())
    leaves[0].requires_grad_(False)
    seen = []

    def objective(model: MultiTask, batch: object, tasks: object) -> torch.Tensor:
        seen.append(any(leaf.requires_grad or leaf.grad is not None for leaf in leaves))
        return model(batch, task="new")[:, 0]

    data = points("a", 20).tensors[0]
    settings = SETTINGS.model_copy(update={"select_by": "loss"})
    train_task(model, "new", data, data, settings, objective=objective, collate=torch.stack)  # type: ignore[arg-type]
    assert len(seen) > 6
    assert not any(seen)
    assert [leaf.requires_grad for leaf in leaves] == [False, *(True for _ in leaves[1:])]


def test_a_run_on_another_inventory_is_another_run(tmp_path: Path) -> None:
    train_task(grown("z"), "new", points("a", 20), points("a", 7, 1), SETTINGS, folder=tmp_path)
    other = grown("z")
    next(iter(inventory_of(other["new"]).values())).data[0] += 1
    with pytest.raises(CheckpointError, match="inventory was"):
        train_task(other, "new", points("a", 20), points("a", 7, 1), SETTINGS, folder=tmp_path)


def test_its_inventory_does_not_move_any_more() -> None:
    with pytest.raises(ValueError, match=r"task 'new' stands on the shared factors .* as they are.*save and remove it"):
        train_together(grown("z"), sets(), SETTINGS)
    model = grown("z")
    with pytest.raises(ValueError, match=r"task 'a' rests on shared factors.*train_together.*transfer_task"):
        train_task(model, "a", points("a", 20), points("a", 7, 1), SETTINGS)
    model.remove_task("new")
    train_together(model, sets(), SETTINGS)


def test_transferred_tasks_train_together_too() -> None:
    model = grown("z")
    model.transfer_task("newer", 2, mode="z")
    before = everything(model)
    data = sets()["a"]
    train_together(model, {"new": data, "newer": data}, SETTINGS)
    after = everything(model)
    assert {key.split(".")[1] for key in before if before[key] != after[key]} == {"new", "newer"}

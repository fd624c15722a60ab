"""A task added onto a trained inventory learns by itself, and does not move the inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from taskfold import LoRA, Method, MultiTask, Poly
from taskfold.layers import inventory_of
from taskfold.train import (
    CheckpointError,
    JointSettings,
    OptimizerSettings,
    group_rates,
    train_task,
    train_together,
)

from .joint import QUICK, everything, points, sets, team

METHOD = Poly(rank=2, skills=3, init="normal")
FAST = OptimizerSettings(lr=0.05, optimizer="adamw", weight_decay=0.1)
SETTINGS = QUICK.model_copy(update={"optimizers": {"factors": FAST, "head": FAST}, "epochs": 2})
MOVED = {"z": {"routing", "head"}, "all": {"routing", "factors", "head"}, "mu": {"factors", "head"}}


def grown(mode: str, begin: str = "mean", seed: int = 0) -> MultiTask:
    model = team(METHOD, seed=seed)
    torch.manual_seed(1)
    model.transfer_task("new", 2, mode=mode, begin=begin)  # type: ignore[arg-type]
    return model


def fast(model: MultiTask) -> JointSettings:
    return SETTINGS.only(group_rates(model, ["new"]))


@pytest.mark.parametrize("mode", MOVED)
def test_only_what_the_mode_says_moves(mode: str) -> None:
    model = grown(mode)
    before, x = everything(model), points("a", 4).tensors[0]
    said = model.eval()(x, task="b")
    groups = {kind: [p.detach().clone() for p in own] for kind, own in model["new"].groups().items()}
    train_task(model, "new", points("a", 20), points("a", 7, 1), fast(model))
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
    settings = fast(model).model_copy(update={"select_by": "loss"})
    train_task(model, "new", data, data, settings, objective=objective, collate=torch.stack)  # type: ignore[arg-type]
    assert len(seen) > 6
    assert not any(seen)
    assert [leaf.requires_grad for leaf in leaves] == [False, *(True for _ in leaves[1:])]


def test_a_run_on_another_inventory_is_another_run(tmp_path: Path) -> None:
    model, other = grown("z"), grown("z")
    train_task(model, "new", points("a", 20), points("a", 7, 1), fast(model), folder=tmp_path)
    next(iter(inventory_of(other["new"]).values())).data[0] += 1
    with pytest.raises(CheckpointError, match="inventory was"):
        train_task(other, "new", points("a", 20), points("a", 7, 1), fast(other), folder=tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"begin": "even"}, "begin was 'mean', is now 'even'"),
        ({"seed": 5}, "inventory at its beginning was '.*routing at its beginning was '"),
    ],
)
@pytest.mark.parametrize("mode", MOVED)
def test_a_run_that_began_elsewhere_is_another_run(
    mode: str, other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = grown(mode)
    result = train_task(model, "new", points("a", 20), points("a", 7, 1), fast(model), folder=tmp_path)
    with pytest.raises(CheckpointError, match=message):
        train_task(grown(mode, **other), "new", points("a", 20), points("a", 7, 1), fast(model), folder=tmp_path)
    # What was learned since does not matter, here or in a file.
    again = train_task(model, "new", points("a", 20), points("a", 7, 1), fast(model), folder=tmp_path)
    file = model.save_task("new", tmp_path / "new.safetensors", standalone=True)
    loaded = MultiTask(model.backbone, num_features=6)
    loaded.load_task(file)
    later = train_task(loaded, "new", points("a", 20), points("a", 7, 1), fast(loaded), folder=tmp_path)
    assert result.curve == again.curve == later.curve


def test_gradients_of_a_loop_of_ones_own_move_nothing() -> None:
    trained: list[dict[str, bytes]] = []
    for left in (False, True):
        model = grown("z")
        for parameter in model.parameters() if left else ():
            parameter.grad = torch.full_like(parameter, 1e3)
        train_task(model, "new", points("a", 20), points("a", 7, 1), fast(model))
        leaves = list(inventory_of(model["new"]).values())
        assert all(leaf.grad is None for leaf in leaves)
        model.remove_task("new")
        for leaf in leaves if left else ():
            leaf.grad = torch.full_like(leaf, 1e3)
        train_together(model, sets(), SETTINGS)
        trained.append(everything(model))
    assert trained[0] == trained[1]


@pytest.mark.parametrize("method", [METHOD, LoRA(rank=2, init="normal", sharing="shared")], ids=["poly", "shared"])
def test_the_only_task_on_an_inventory_moves_it(method: Method) -> None:
    model = team(method)
    for other in ("b", "c"):
        with pytest.raises(ValueError, match="training it alone would move task"):
            train_task(model, "a", points("a", 20), points("a", 7, 1), SETTINGS)
        model.remove_task(other)
    model.add_task("private", 2, method=LoRA(rank=1, init="normal"))
    before = everything(model)
    train_task(model, "a", points("a", 20), points("a", 7, 1), SETTINGS)
    after = everything(model)
    moved = {key.split(".")[0] for key in before if before[key] != after[key] and "private" not in key}
    assert moved == {"tasks", "inventory"}
    assert all(before[key] == after[key] for key in before if ".private." in key)


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
    train_together(model, {"new": data, "newer": data}, fast(model))
    after = everything(model)
    assert {key.split(".")[1] for key in before if before[key] != after[key]} == {"new", "newer"}

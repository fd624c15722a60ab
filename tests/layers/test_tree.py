"""Tasks of a tree: shared parts below the branching point, private ones above it; a common trunk runs once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import taskfold as tfold
from taskfold import MultiTask
from taskfold.layers import inventory_of, sharing_passes
from taskfold.methods import Method
from taskfold.routing import Tree

NAMES = ("road", "street", "sea")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(3 if n == 0 else 4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()) for n in range(4)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def tree(**settings: Any) -> Method:
    return tfold.FTN(rank=2, stem=True, init="normal", sharing={"name": "tree", **settings})


def planted(methods: dict[str, Method]) -> MultiTask:
    model = MultiTask(network(), num_features=4)
    for name, method in methods.items():
        model.add_task(name, head=2, method=method)
    with torch.no_grad():
        for parameter in model.tasks.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


GROUPED = {
    "road": tree(branch=1, group="land", grouped=3),
    "street": tree(branch=1, group="land", grouped=3),
    "sea": tree(branch=1),
}
CASES = {
    "private above": dict.fromkeys(NAMES, tree(branch=2)),
    "routed above": dict.fromkeys(NAMES, tree(branch=2, above={"name": "poly", "skills": 2})),
    "groups": GROUPED,
    "scales": dict.fromkeys(NAMES, tfold.SSF(sharing={"name": "tree", "branch": 2})),
}


@pytest.mark.parametrize("methods", CASES.values(), ids=CASES)
def test_a_batch_for_several_tasks_runs_the_trunk_once(methods: dict[str, Method]) -> None:
    model, x = planted(methods), torch.randn(3, 3, 4, 4)
    model.execution = "factored"  # the same numbers of operations, alone and side by side
    with sharing_passes(True), torch.no_grad():
        model(x, task=[*NAMES], broadcast=True)  # networks are looked at first
        with FlopCounterMode(display=False) as together:
            every = model(x, task=[*NAMES], broadcast=True)
    with FlopCounterMode(display=False) as alone, torch.no_grad():
        model(x, task="road")
    for name in NAMES:
        torch.testing.assert_close(every[name], model(x, task=name))
    apart = model._runner.answers([model[name] for name in NAMES]).apart()
    shared = 1 if methods is GROUPED else 2
    assert {path.partition(".")[0] for path in apart} == {str(n) for n in range(shared, 4)}
    trunk = shared / 4  # of the network, about
    assert together.get_total_flops() < 1.1 * (3 - 2 * trunk) * alone.get_total_flops()


def test_counts_files_folds_and_banks(tmp_path: Path) -> None:
    model, x = planted(CASES["private above"]), torch.randn(2, 3, 4, 4)
    # Two convolutions, R (O + I + 1) numbers each; γ and β where tasks have parted.
    assert model["road"].counts() == {"factors": 2 * 2 * 9, "norm": 2 * 8, "head": 10, "routing": 0}
    assert sum(leaf.numel() for leaf in model.inventory.parameters()) == 2 * (8 + 9)
    torch.testing.assert_close(model.fold("sea")(x), model(x, task="sea"))
    bank = model.bank([*NAMES])
    torch.testing.assert_close(bank(x, task=["sea", "road"])[0], model(x[:1], task="sea")[0])
    model.save_inventory(tmp_path / "inventory.safetensors")
    other = MultiTask(network(), num_features=4).eval()
    other.load_inventory(tmp_path / "inventory.safetensors")
    other.load_task(model.save_task("sea", tmp_path / "sea.safetensors"))
    assert torch.equal(other(x, task="sea"), model(x, task="sea"))


def test_groups_have_what_lies_between_in_common() -> None:
    model = planted(GROUPED)
    road, street, sea = ({*inventory_of(model[name])} for name in NAMES)
    assert road == street
    assert {key.split("/")[1] for key in road & sea} == {"0.0"}
    assert {key.split("/")[1] for key in road - sea} == {"1.0", "2.0"}
    assert all("@land" in key for key in road - sea)
    assert model["road"].counts()["factors"] == 2 * 9
    assert model["sea"].counts()["factors"] == 3 * 2 * 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"branch": 0}, "branch of sharing 'tree' must be a whole number ≥ 1, found 0"),
        ({"branch": 2, "group": "a"}, "group='a' and grouped=0 of sharing 'tree' go together"),
        ({"branch": 2, "group": "a", "grouped": 2}, "grouped=2 must be more than branch=2"),
        ({"group": "a b", "grouped": 2}, "group='a b' of sharing 'tree' must be a name"),
        ({"above": "shared"}, "above='shared' does not part tasks; choose 'private' or a routed rule"),
        ({"above": "privat"}, "sharing='privat' is not known"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tree(**settings)


def test_more_stages_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="a number of shared stages=9 is more than Sequential has"):
        planted({"road": tree(branch=9)})


def test_a_tree_without_a_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match="shares nothing: no layer that the method adapts lies in the first 1 stages"):
        planted({"road": tfold.FTN(rank=2, targets=("2.*", "3.*"), sharing={"name": "tree", "branch": 1})})
    with pytest.raises(ValueError, match="or all that do are frozen; raise branch"):
        planted({"road": tfold.FTN(rank=2, frozen_stages=2, sharing={"name": "tree", "branch": 2})})

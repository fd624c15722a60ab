"""WTPB and BA²: the weights of their formulas, in value and gradient, files, banks, and a budget that holds."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.func import functional_call

import taskfold as tfold
from taskfold import BA2, WTPB, MultiTask
from taskfold.layers import multipliers_of, updates_of
from taskfold.methods import Method
from taskfold.tasks import Task

METHODS = [
    WTPB(norm=False),
    WTPB(norm=False, form="full"),
    WTPB(norm=False, form="full", free_scale=True),
    BA2(norm=False),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: "-".join([m.name, *map(str, vars(m).values())]))


def network() -> nn.Sequential:
    layers = (nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.Conv2d(6, 2, 1))
    return nn.Sequential(*layers).double().eval()


def built(method: Method) -> MultiTask:
    torch.manual_seed(0)
    model = MultiTask(network(), method).eval()
    for name in "ab":
        model.add_task(name).double()
    return model


def stirred(model: MultiTask) -> None:
    for name in model.tasks:
        for parameter in model[name].parameters():
            nn.init.normal_(parameter)


def weights(task: Task, net: nn.Sequential) -> dict[str, Tensor]:
    """By the formula, with the layers' own sizes: a transposed convolution's weight is `[I, O/groups, …]`."""
    found: dict[str, Tensor] = {}
    for path, part in updates_of(task).items():
        own = cast(Tensor, net.get_submodule(path).weight)
        scores, method = part.own["mask"], task.method
        m = (scores > 0).to(own.dtype) - scores.detach() + scores  # the gradient of the score
        if method["name"] == "ba2":
            m = m[:, :, None, None].expand(*m.shape, *own.shape[2:])
        if path == "2":
            m = m.unflatten(0, (2, 3)).transpose(1, 2).flatten(0, 1)
        if method["name"] == "ba2":
            found[f"{path}.weight"] = own * m
            continue
        k = [*part.own["scalars"]]
        if not method["settings"]["free_scale"]:
            k = [torch.ones((), dtype=own.dtype), *k]
        k3 = k[3] if len(k) == 4 else 0
        found[f"{path}.weight"] = k[0] * own + k[1] + k[2] * m + k3 * own * m
    return found


@every_method
def test_it_starts_exactly_and_is_the_formula_in_value_and_gradient(method: Method) -> None:
    model = built(method)
    net, task = cast(nn.Sequential, model.backbone), model["a"]
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(model(x, task="a"), net(x))
    stirred(model)
    found, wanted = model(x, task="a"), functional_call(net, weights(task, net), (x,))
    assert not torch.allclose(wanted, net(x))
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(y.square().sum(), list(task.parameters())) for y in (found, wanted)]
    torch.testing.assert_close(*gradients)


@every_method
def test_rows_banks_folds_and_files_are_the_task(method: Method, tmp_path: Path) -> None:
    model = built(method)
    stirred(model)
    x, rows = torch.randn(4, 3, 8, 8, dtype=torch.float64), ["b", "a", "a", "b"]
    elsewhere = MultiTask(model.backbone).eval()
    with torch.no_grad():
        alone = {name: model(x, task=name) for name in "ab"}
        mixed = torch.stack([alone[name][n] for n, name in enumerate(rows)])
        bank = model.bank()
        for found in (model(x, task=rows), bank(x, task=rows)):
            torch.testing.assert_close(found, mixed)
        for name in "ab":
            torch.testing.assert_close(model.fold(name)(x), alone[name])
            path = model.save_task(name, tmp_path / f"{name}.safetensors")
            elsewhere.load_task(path)
            assert torch.equal(elsewhere(x, task=name), alone[name])
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        held = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  of the file
    masks = [one for key, one in held.items() if "mask" in key]
    assert all(one.dtype == "uint8" for one in masks)
    numbers = 12 + 4 * 3 + 12 if method.name == "ba2" else 3 * 4 * 9 + 4 * 3 * 4 + 12
    assert sum(one.size for one in masks) == sum(-(-n // 8) for n in _numbers(method))
    assert sum(_numbers(method)) == numbers
    # A bank holds bits, and the numbers that weigh them.
    assert bank.table.bits.shape[1] > 0
    assert bank.table.numbers.shape[1] == (0 if method.name == "ba2" else 3 * 4)


def _numbers(method: Method) -> list[int]:
    return [12, 12, 12] if method.name == "ba2" else [108, 48, 12]


def test_tasks_with_scalars_and_without_stand_in_one_bank() -> None:
    model = built(WTPB(norm=False))
    model.add_task("c", method=tfold.Piggyback()).double()
    model.add_task("d", method=BA2(norm=False)).double()
    model.add_task("plain", method=tfold.HeadOnly())
    stirred(model)
    x, rows = torch.randn(5, 3, 8, 8, dtype=torch.float64), ["plain", "d", "c", "b", "a"]
    with torch.no_grad():
        wanted = torch.cat([model(x[n : n + 1], task=name) for n, name in enumerate(rows)])
        torch.testing.assert_close(model(x, task=rows), wanted)
        torch.testing.assert_close(model.bank()(x, task=rows), wanted)


def test_scores_start_anywhere_between_two_bounds() -> None:
    scores = torch.cat([p.own["mask"].flatten() for p in updates_of(built(WTPB(norm=False))["a"]).values()])
    assert scores.min() > 1e-4
    assert scores.max() < 2e-4
    assert scores.std() > 2e-5


def test_a_multiplier_rises_while_too_many_switches_are_on_and_falls_to_zero_afterwards() -> None:
    method = BA2(norm=False, budget=0.5, multiplier_rate=2.0)
    model = built(method)
    task = model["a"]
    scores = [part.own["mask"] for part in updates_of(task).values()]
    method.stepped(task)
    assert {one.item() for one in multipliers_of(task)} == {0.0}  # no gradient: the task had no part in the step
    penalty = method.penalty(task, 0.0)
    assert penalty is not None
    penalty.backward()
    method.stepped(task)
    assert {one.item() for one in multipliers_of(task)} == {1.0}  # 2 · (1 − 0.5)
    penalty = method.penalty(task, 0.0)
    assert penalty is not None
    assert penalty.item() == 0.5
    found = torch.autograd.grad(penalty, scores)
    assert all(one.eq(1.0 / 36).all() for one in found)
    with torch.no_grad():
        for one in scores:
            one.fill_(-1.0)
    method.stepped(task)
    assert {one.item() for one in multipliers_of(task)} == {0.0}
    assert task.counts()["mask"] == 36  # a multiplier is no parameter
    assert BA2().penalty(model["b"], 0.0) is None


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="form='half' is not known; choose one of simple, full"):
        WTPB(form="half")  # type: ignore[arg-type]
    for budget in (0.0, 1.5, True, float("nan")):
        with pytest.raises(ValueError, match=r"budget must be a finite number above 0 and up to 1, found "):
            BA2(budget=budget)
    with pytest.raises(ValueError, match="multiplier_rate must be a finite number above 0, found 0"):
        BA2(multiplier_rate=0)
    with pytest.raises(ValueError, match="Sequential has no convolutions to adapt; it has 1 × linear"):
        MultiTask(nn.Sequential(nn.Linear(2, 2))).add_task("a", method=BA2())

"""A new task on a trained inventory: which parts learn, which do not, and the contents of its file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask

METHODS = {
    "poly": tfold.Poly(rank=2, skills=3),
    "mhr": tfold.MHR(rank=2, skills=3, splits=2),
    "tensorpoly-i": tfold.TensorPolyI(rank=2, tensor_rank=3),
    "tensorpoly-i-block": tfold.TensorPolyI(rank=2, tensor_rank=3, granularity="model"),
    "tensorpoly-ii": tfold.TensorPolyII(rank=2, tensor_rank=3),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_mode = pytest.mark.parametrize("mode", ["all", "mu", "z"])
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


def trained(method: tfold.Method) -> MultiTask:
    """Two tasks on an inventory, all numbers random."""
    torch.manual_seed(0)
    model = MultiTask(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), method, num_features=4).eval()
    model.add_task("a")
    model.add_task("b", head=nn.Linear(4, 2))
    for number in [*model.tasks.parameters(), *model.inventory.parameters()]:
        nn.init.normal_(number, std=0.5)
    return model


def state(model: MultiTask) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def learn(model: MultiTask, name: str) -> None:
    optimiser = torch.optim.AdamW(model[name].parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(X, task=name).square().mean().backward()
        optimiser.step()


@every_method
@every_mode
def test_only_what_the_mode_says_learns(method: tfold.Method, mode: str, tmp_path: Path) -> None:
    model = trained(method)
    before, outputs = state(model), {name: model(X, task=name).detach() for name in ("a", "b")}
    inventory = sum(p.numel() for p in model.inventory.parameters())
    task = model.transfer_task("new", mode=mode)  # type: ignore[arg-type]
    start = {name: p.detach().clone() for name, p in task.named_parameters()}
    counts = task.counts()
    trainable = sum(p.numel() for p in task.parameters() if p.requires_grad)
    assert trainable == {"z": counts["routing"], "mu": inventory, "all": inventory + counts["routing"]}[mode]
    learn(model, "new")
    moved = {name for name, p in task.named_parameters() if not torch.equal(p, start[name])}
    assert moved == {name for name, p in task.named_parameters() if p.requires_grad}
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items()), "old rows and the inventory stay"
    assert all(torch.equal(model(X, task=name), y) for name, y in outputs.items())

    # Its file holds what is its own, and finds its place again.
    path = model.save_task("new", tmp_path / "new.safetensors")
    other = MultiTask(model.backbone).eval()
    if mode == "z":
        other.load_inventory(model.save_inventory(tmp_path / "inventory.safetensors"))
        assert path.stat().st_size < 4 * counts["routing"] + 3000
    loaded = other.load_task(path)
    assert loaded.transfer == mode
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in task.parameters()]
    assert torch.equal(other(X, task="new"), model(X, task="new"))
    assert len(other.inventory) == (len(model.inventory) if mode == "z" else 0)


@every_method
def test_routing_begins_at_the_mean_of_the_others(method: tfold.Method) -> None:
    model = trained(method)
    a, b = model.routing("a"), model.routing("b")
    model.transfer_task("mean", mode="mu")
    for layer, weights in model.routing("mean").items():
        torch.testing.assert_close(weights, (a[layer] + b[layer]) / 2)
        torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights)))
    model.transfer_task("even", begin="even")
    for weights in model.routing("even").values():
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / weights.shape[-1]))


@pytest.mark.parametrize("granularity", ["block", "model"])
def test_layers_that_share_their_logits_begin_at_the_mean_of_theirs(granularity: str) -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 8)) for _ in range(2)]
    model = MultiTask(nn.ModuleDict({"block": nn.Sequential(*blocks)}), tfold.Poly(rank=1, skills=3))
    for name in "ab":
        for logits in model.add_task(name).groups()["routing"]:
            nn.init.normal_(logits, std=2)
    model.transfer_task("new", granularity=granularity)
    own = {layer: (model.routing("a")[layer] + model.routing("b")[layer]) / 2 for layer in model.routing("a")}
    for layer, found in model.routing("new").items():
        scope = [other for other in own if granularity == "model" or other.split(".")[1] == layer.split(".")[1]]
        torch.testing.assert_close(found, sum(own[other] for other in scope) / len(scope))


@pytest.mark.parametrize("rule", ["tensorpoly-i", "tensorpoly-ii"])
def test_the_mean_is_that_of_tasks_that_route_alike(rule: str) -> None:
    model = MultiTask(nn.Sequential(nn.Linear(8, 6)), tfold.LoRA(rank=4))
    for name, sharing in {"shared": "shared", "i": "tensorpoly-i", "ii": "tensorpoly-ii"}.items():
        for logits in model.add_task(name, sharing=sharing).groups()["routing"]:
            nn.init.normal_(logits)
    model.transfer_task("new", sharing=rule)
    other = {"tensorpoly-i": "i", "tensorpoly-ii": "ii"}[rule]
    torch.testing.assert_close(model.routing("new")["0"], model.routing(other)["0"])


RANDOM = {
    "poly": tfold.Poly(rank=2, skills=3, allocation="random"),
    "bernoulli": tfold.Poly(rank=2, skills=3, allocation="bernoulli"),
    "nested": tfold.LoRA(rank=2, sharing={"name": "poly", "skills": 3, "allocation": "random"}, init="normal"),
}


@pytest.mark.parametrize("method", RANDOM.values(), ids=RANDOM)
def test_under_mu_no_routing_is_drawn(method: tfold.Method, tmp_path: Path) -> None:
    model = trained(method)
    rows = X[:1].repeat(50, 1)
    drawn = model.train()(rows, task="a")
    model.transfer_task("new", mode="mu")
    fixed = model.train()(rows, task="new")
    assert len(torch.unique(torch.stack([drawn[0], model(rows, task="a")[0], *drawn]), dim=0)) > 1
    assert torch.equal(fixed, model.eval()(rows, task="new"))
    model.transfer_task("said", mode="mu", **({} if method.name == "lora" else {"allocation": "sigmoid"}))
    assert model["said"].method == model["new"].method
    other = MultiTask(model.backbone)
    other.load_task(model.save_task("new", tmp_path / "new.safetensors"))
    assert torch.equal(other.train()(rows, task="new"), fixed)


@pytest.mark.parametrize("mode", ["z", "all"])
def test_a_routing_that_is_only_drawn_is_not_learned(mode: str) -> None:
    for kind, how in {"poly": "allocation='sigmoid'", "nested": "sharing={'name': …, 'allocation': 'sigmoid'}"}.items():
        model = trained(RANDOM[kind])
        with pytest.raises(ValueError, match=f"allocation='random', which learns no routing.*{re.escape(how)}"):
            model.transfer_task("new", mode=mode)  # type: ignore[arg-type]
        assert list(model.tasks) == ["a", "b"]
    model = trained(RANDOM["poly"])
    model.transfer_task("new", mode=mode, allocation="sigmoid")  # type: ignore[arg-type]
    before = model.routing("new")
    learn(model, "new")
    assert all(not torch.equal(before[layer], now) for layer, now in model.routing("new").items())


@every_method
def test_an_inventory_from_a_file_is_enough(method: tfold.Method, tmp_path: Path) -> None:
    model = trained(method)
    fresh = MultiTask(model.backbone, method, num_features=4)
    fresh.load_inventory(model.save_inventory(tmp_path / "inventory.safetensors"))
    with pytest.raises(ValueError, match=r"has no other task there; load some, or choose begin='even'"):
        fresh.transfer_task("new")
    assert not len(fresh.tasks)
    fresh.transfer_task("new", begin="even", head=3)
    assert fresh(X, task="new").shape == (6, 3)


def test_a_mixed_batch_of_transferred_tasks_is_the_tasks_one_by_one() -> None:
    model = trained(METHODS["tensorpoly-i"])
    for mode in ("all", "mu", "z"):
        model.transfer_task(mode, mode=mode)  # type: ignore[arg-type]
        learn(model, mode)
    names = ["z", "a", "all", "mu", "mu", "z"]
    torch.testing.assert_close(
        model(X, task=names), torch.cat([model(X[n : n + 1], task=name) for n, name in enumerate(names)])
    )


def test_experts_are_the_inventory() -> None:
    model = trained(METHODS["poly"])
    rows = model.experts("a", "0")
    bank = model.inventory["poly.0/0/weight"]
    assert torch.equal(rows, torch.cat([bank["up"].flatten(1), bank["down"].flatten(1)], 1))
    with pytest.raises(ValueError, match="routes no layer '1'; it routes 0, 2"):
        model.experts("a", "1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "y"}, "mode='y' is not known; choose one of 'all', 'mu', 'z'"),
        ({"begin": "zero"}, "begin='zero' is not known; choose one of 'mean', 'even'"),
        ({"method": tfold.Poly(rank=1)}, "share its sizes"),
        ({"method": tfold.TensorPolyI()}, r"an inventory that nothing was trained on \(tensorpoly-i"),
        ({"method": tfold.LoRA(layers="linear")}, "'lora', which routes nothing"),
    ],
)
def test_what_cannot_be_transferred_is_refused(settings: dict, message: str) -> None:
    model = trained(METHODS["poly"])
    before = state(model)
    with pytest.raises(ValueError, match=message):
        model.transfer_task("new", **settings)
    assert list(model.tasks) == ["a", "b"]
    assert state(model).keys() == before.keys()

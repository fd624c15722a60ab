"""Routed and shared updates on every layer kind: one value and one gradient in every form of execution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from taskfold import MultiTask
from taskfold.factors import CP, Entangled, Factorisation, LowRank
from taskfold.interventions import Execution
from taskfold.layers import Linears, Update
from taskfold.routing import LOGITS, Core, MultiHeadRouting, OrderRouting, PolyRouting, Shared, Sharing, TermRouting

from ..recipes import OfRecipes
from .cases import CASES, Case
from .test_laws import FORMS, dense_of

UPDATES: dict[str, tuple[Factorisation, Sharing]] = {
    "lora-shared": (LowRank(rank=2), Shared()),
    "tlora-shared": (Entangled(rank=2, tensor_rank=2), Shared()),
    "poly": (LowRank(rank=2), PolyRouting(skills=3)),
    "mhr": (LowRank(rank=2), MultiHeadRouting(skills=3, splits=2)),
    "tensorpoly-i": (Entangled(rank=2, tensor_rank=3), TermRouting()),
    "tensorpoly-i-norm": (Entangled(rank=2, tensor_rank=3, product_norm=True), TermRouting()),
    "tensorpoly-ii": (Entangled(rank=2, tensor_rank=3, order=3), OrderRouting()),
    "poly-cp": (CP(rank=2), PolyRouting(skills=3)),
    "terms-cp": (CP(rank=3), TermRouting()),
    "orders-cp": (CP(rank=3), OrderRouting()),
    "core": (LowRank(rank=3), Core()),
    "core-cp": (CP(rank=3), Core()),
    "poly-entangled": (Entangled(rank=2, tensor_rank=2), PolyRouting(skills=2, granularity="model")),
}
BATCHES = {"grouped": "aaabbbcc", "equal": "aabbcc", "shuffled": "abcabcab", "each-its-own": "cab"}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_update = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
every_form = pytest.mark.parametrize("form", FORMS)


def built(case: Case, update: tuple[Factorisation, Sharing]) -> tuple[nn.Module, MultiTask]:
    """A layer with three tasks, or skip where the pair has no meaning on it (which `tests/routing` shows refused)."""
    torch.manual_seed(0)
    network = nn.Sequential(case.build()).double()
    model = MultiTask(network)
    for name in "abc":
        try:
            model.add_task(name, method=OfRecipes(Update(update[0], case.where, update[1])))
        except ValueError as error:
            if (
                "does not divide" in str(error)
                or "use sharing 'poly'" in str(error)
                or "outputs have one axis" in str(error)
            ):
                pytest.skip(f"refused at construction: {error}")
            raise
    for parameter in model.double().parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.4)
    return network, model


def gradients(output: Tensor, x: Tensor, model: MultiTask) -> list[Tensor | None]:
    toward = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape).cos()
    learned = [p for p in model.parameters() if p.requires_grad]
    return list(torch.autograd.grad((output * toward).sum(), [x, *learned], allow_unused=True))


@pytest.mark.sampled(2)
@pytest.mark.in_turn("form")
@every_case
@every_update
@every_form
def test_runs_as_the_dense_weight_does(case: Case, update: tuple[Factorisation, Sharing], form: Execution) -> None:
    network, model = built(case, update)
    model.execution = form
    x = torch.randn(2, *case.shape, dtype=torch.float64, requires_grad=True)
    oracle = functional_call(network, dense_of(model, "a"), (x,))
    assert not torch.allclose(oracle, network(x)), "the update must do something"
    found = model(x, task="a")
    torch.testing.assert_close(found, oracle)
    torch.testing.assert_close(gradients(found, x, model), gradients(oracle, x, model))
    torch.testing.assert_close(model.fold("a")(x), oracle)


@pytest.mark.sampled(3)
@pytest.mark.in_turn("batch")
@every_case
@every_update
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_mixed_rows_are_the_tasks_one_by_one(case: Case, update: tuple[Factorisation, Sharing], batch: str) -> None:
    _, model = built(case, update)
    x = torch.randn(len(batch), *case.shape, dtype=torch.float64, requires_grad=True)
    mixed = model(x, task=list(batch))
    alone = torch.cat([model(x[n : n + 1], task=name) for n, name in enumerate(batch)])
    torch.testing.assert_close(mixed, alone)
    torch.testing.assert_close(gradients(mixed, x, model), gradients(alone, x, model))


def test_random_allocation_draws_for_every_row() -> None:
    torch.manual_seed(0)
    model = MultiTask(nn.Sequential(nn.Linear(8, 6)))
    rule = PolyRouting(skills=6, allocation="random")
    method = OfRecipes(Update(LowRank(rank=2, init="normal"), Linears(), rule))
    for name in "ab":
        model.add_task(name, method=method)
    x = torch.ones(16, 8)
    for task in ("a", ["a", "b"] * 8):
        model.train()
        assert len({tuple(row.tolist()) for row in model(x, task=task).detach()}) > 8
        model.eval()
        assert len({tuple(row.tolist()) for row in model(x, task=task).round(decimals=4).detach()}) == 1


def test_logits_per_layer_block_or_model() -> None:
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(3)]
    network = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
    counts = {}
    for granularity in ("layer", "block", "model"):
        model = MultiTask(network)
        rule = PolyRouting(skills=5, granularity=granularity)  # type: ignore[arg-type]
        task = model.add_task("a", method=OfRecipes(Update(LowRank(rank=1), Linears(), rule)))
        counts[granularity] = task.counts()["routing"]
        logits = {id(p) for name, p in task.named_parameters(remove_duplicate=False) if name.endswith(LOGITS)}
        assert len(logits) == counts[granularity] // 5
    assert counts == {"layer": 30, "block": 15, "model": 5}
    ranks = CP(rank={"blocks.0.*": 2, "*": 3})
    method = OfRecipes(Update(ranks, Linears(), TermRouting(granularity="model")))
    with pytest.raises(ValueError, match=r"routes \(3,\) and shares its logits with layers that route \(2,\)"):
        MultiTask(network).add_task("a", method=method)

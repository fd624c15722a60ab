"""The laws of layer kinds, for every factorisation: one value and one gradient in every form of execution."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from taskfold import MultiTask
from taskfold.factors import CP, Factorisation, LowRank
from taskfold.interventions import Execution
from taskfold.kinds import WeightKind, kind_of
from taskfold.layers import Factored, Fitting, Norms, Update, parts_of

from ..recipes import OfRecipes
from .cases import CASES, Case

FACTORISATIONS = {
    "cp": CP(rank=3, init="normal"),
    "cp-alpha": CP(rank=2, alpha=8.0, init="xavier"),
    "lowrank": LowRank(rank=2, init="normal"),
}
FORMS = ("auto", "factored", "merged", "materialised")

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_factorisation = pytest.mark.parametrize("factorisation", FACTORISATIONS.values(), ids=FACTORISATIONS)
every_form = pytest.mark.parametrize("form", FORMS)


def built(case: Case, factorisation: Factorisation, *others: Factorisation) -> tuple[nn.Module, MultiTask]:
    torch.manual_seed(0)
    network = nn.Sequential(case.build()).double()
    model = MultiTask(network)
    for n, one in enumerate((factorisation, *others)):
        task = model.add_task(f"task{n}", method=OfRecipes(Update(one, case.where)))
        for parameter in task.double().parameters():
            nn.init.normal_(parameter, std=0.3)
    return network, model


def gradients(output: Tensor, x: Tensor, model: MultiTask) -> list[Tensor]:
    toward = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape).cos()
    wanted = [x, *model["task0"].parameters()]
    return list(torch.autograd.grad((output * toward).sum(), wanted))


def dense_of(model: MultiTask, name: str) -> dict[str, Tensor]:
    """Whole weights, with gradient: the layer's own with ΔW, or what replaces or masks it, in the rows of each view."""
    dense: dict[str, Tensor] = {}
    for (path, _), part in parts_of(model[name]):
        assert isinstance(part, Factored)
        kind, key = kind_of(model.backbone.get_submodule(path)), f"{path}.{part.view.parameter}"
        weight = kind.seen(dense.get(key, model.backbone.get_parameter(key)))
        made = part.factorisation.materialise(part.selected(weight.dtype, training=False), part.view.modes)
        start, stop = part.view.rows or (0, len(weight))
        own = weight[start:stop]
        made = made.reshape(own.shape)
        rows = made * own if part.factorisation.masks else made + (0 if part.factorisation.replaces else own)
        dense[key] = kind.laid_out(torch.cat([weight[:start], rows, weight[stop:]]))
    return dense


@pytest.mark.in_turn("form")
@every_case
@every_factorisation
@every_form
def test_runs_as_the_dense_weight_does(case: Case, factorisation: Factorisation, form: Execution) -> None:
    network, model = built(case, factorisation)
    model.execution = form
    x = torch.randn(2, *case.shape, dtype=torch.float64, requires_grad=True)
    oracle = functional_call(network, dense_of(model, "task0"), (x,))
    assert not torch.allclose(oracle, network(x)), "the update must do something"
    found = model(x, task="task0")
    torch.testing.assert_close(found, oracle)
    torch.testing.assert_close(gradients(found, x, model), gradients(oracle, x, model))


@pytest.mark.sampled(2)
@pytest.mark.in_turn("form")
@every_case
@every_factorisation
@every_form
def test_mixed_rows_are_the_tasks_one_by_one(case: Case, factorisation: Factorisation, form: Execution) -> None:
    _, model = built(case, factorisation, CP(rank=1), factorisation.__class__(rank=4, init="normal"))
    model.execution = form
    x = torch.randn(5, *case.shape, dtype=torch.float64, requires_grad=True)
    names = ["task1", "task0", "task0", "task2", "task1"]
    mixed = model(x, task=names)
    alone = torch.cat([model(x[n : n + 1], task=name) for n, name in enumerate(names)])
    torch.testing.assert_close(mixed, alone)
    torch.testing.assert_close(gradients(mixed, x, model), gradients(alone, x, model))


@pytest.mark.sampled(3)
@pytest.mark.in_turn("form")
@every_case
@every_factorisation
@every_form
def test_gradients_and_memory_make_no_difference(case: Case, factorisation: Factorisation, form: Execution) -> None:
    """Where no gradient is wanted numbers are added in place."""
    _, model = built(case, factorisation, factorisation.__class__(rank=1, init="normal"))
    model.execution = form
    images = torch.randn(4, *case.shape, dtype=torch.float64)
    layouts = [images, images.to(memory_format=torch.channels_last)] if images.dim() == 4 else [images]
    bank = model.bank()
    alone = [model(images, task=name) for name in ("task0", "task1")]
    for rows in (1, 4):
        wanted = [one[:rows] for one in alone]
        mixed = torch.stack([wanted[n % 2][n] for n in range(rows)])
        names = [f"task{n % 2}" for n in range(rows)]
        for x in (layout[:rows] for layout in layouts):
            with torch.no_grad():
                torch.testing.assert_close([model(x, task=name) for name in ("task0", "task1")], wanted)
                torch.testing.assert_close(model(x, task=names), mixed)
                for run in (model, bank):
                    torch.testing.assert_close(run(x, task=names), mixed)
                    torch.testing.assert_close(list(run(x, task=["task0", "task1"], broadcast=True).values()), wanted)


@every_case
def test_fold_is_the_task(case: Case) -> None:
    network, model = built(case, CP(rank=3))
    before = copy.deepcopy(network.state_dict())
    x = torch.randn(3, *case.shape, dtype=torch.float64)
    folded = model.fold("task0")
    assert type(folded) is type(network)
    assert [type(m) for m in folded.modules()] == [type(m) for m in network.modules()]
    torch.testing.assert_close(folded(x), model(x, task="task0"))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@every_case
@torch.no_grad()  # torch's attention takes another kernel where gradients are wanted
def test_zero_start_is_the_backbone_bit_for_bit(case: Case) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(case.build())
    model = MultiTask(network)
    model.add_task("a", method=OfRecipes(Update(CP(rank=2), case.where)))
    model.add_task("b", method=OfRecipes(Update(LowRank(rank=2), case.where)))
    x = torch.randn(3, *case.shape)
    assert torch.equal(model(x, task="a"), network(x))
    assert torch.equal(model(x, task="b"), network(x))


@every_case
def test_additivity_is_found(case: Case) -> None:
    network = nn.Sequential(case.build())
    for target in case.where.find(network):
        kind = kind_of(network.get_submodule(target.path))
        found = isinstance(kind, WeightKind) and kind.additive
        assert found == (case.additive and kind.groups == 1)  # an update beside groups would reach over them


def test_norms_are_found() -> None:
    from timm.layers import BatchNormAct2d, GroupNorm1, LayerNorm2d
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    found = [nn.BatchNorm1d(2), nn.SyncBatchNorm(2), nn.InstanceNorm2d(2, affine=True), nn.RMSNorm(2)]
    found += [
        nn.GroupNorm(1, 2),
        nn.LayerNorm(2),
        BatchNormAct2d(2),
        LayerNorm2d(2),
        GroupNorm1(2),
        T5LayerNorm(2),
    ]
    network = nn.Sequential(*found, nn.Linear(2, 2), nn.Conv2d(2, 2, 1))
    assert [path for path, *_ in Norms().fit(Fitting(network, {}, ""))] == [str(n) for n in range(len(found))]

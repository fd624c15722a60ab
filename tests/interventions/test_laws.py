"""The laws of interventions at every layer that they fit: one value and one gradient in every form of execution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from taskfold import HeadOnly, MultiTask
from taskfold.factors import Leaf
from taskfold.interventions import Layer as Plain
from taskfold.interventions import padded, stacked
from taskfold.layers import Direct, Fitting, Part, Recipe, leaves_of, parts_of
from taskfold.routing import Private

from ..recipes import OfRecipes
from .cases import CASES, LAYERS, PAIRS, Case, Layer, Tensors, formula

ids = [f"{case}-{layer.name}" for case, layer in PAIRS]
every_pair = pytest.mark.parametrize(("case", "layer"), PAIRS, ids=ids)
every_layer = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)  # Gemma's norm computes in single precision
ROWS = ["b", "a", "none", "a", "b", "none", "a"]


class Given(Recipe):
    """Interventions at one layer, with tensors that are leaves."""

    def __init__(self, cases: Sequence[Case], layer: Layer, size: int) -> None:
        self.cases, self.layer, self.size = cases, layer, size

    def fit(self, at: Fitting) -> Iterator[tuple[str, str, Part]]:
        path, kind = self.layer.path, at.kind(self.layer.path)
        start = partial(nn.init.normal_, std=0.5)
        for n, case in enumerate(self.cases):
            shapes = case.slots(kind, self.size)
            specs = {name: Leaf(shape, ("any",) * len(shape), start) for name, shape in shapes.items()}
            like = torch.empty(0, dtype=kind.dtype)
            own, inventory = leaves_of(at, f"{n}", specs, Private(), like, {}, path)
            yield path, f"{n}", Direct(case.intervention, specs, Private(), own, inventory)


def built(cases: Sequence[Case], layer: Layer) -> MultiTask:
    """Tasks of two sizes, and one that leaves the layer alone."""
    torch.manual_seed(0)
    model = MultiTask(layer.network()).eval()
    model.add_task("a", method=OfRecipes(Given(cases, layer, 2)))
    model.add_task("none", method=HeadOnly())
    model.add_task("b", method=OfRecipes(Given(cases, layer, 3)))
    return model


def oracle(model: MultiTask, cases: Sequence[Case], layer: Layer, name: str) -> nn.Module:
    tensors: list[Tensors] = [part.own.held() for _, part in parts_of(model[name])]
    return formula(model.backbone, layer, list(zip(cases, tensors, strict=bool(tensors))))


def inputs(layer: Layer, rows: int = len(ROWS)) -> Tensor:
    return torch.randn(rows, *layer.shape, dtype=torch.float64, requires_grad=True)


def learned(output: Tensor, x: Tensor, model: MultiTask, *names: str) -> list[Tensor]:
    toward = torch.arange(output.numel(), dtype=output.dtype).reshape(output.shape).cos()
    wanted = [x, *(parameter for name in names for parameter in model[name].parameters())]
    return list(torch.autograd.grad((output * toward).sum(), wanted, retain_graph=True))


def check_runs(cases: Sequence[Case], layer: Layer) -> None:
    model = built(cases, layer)
    x = inputs(layer)
    alone = {name: oracle(model, cases, layer, name)(x) for name in ("a", "b")} | {"none": model.backbone(x)}
    assert (alone["a"] - alone["none"]).abs().max() > 0.01
    assert (alone["a"] - alone["b"]).abs().max() > 0.01
    for training in (False, True):
        model.train(training)
        found = model(x, task="a")
        close(found, alone["a"])
        close(learned(found, x, model, "a"), learned(alone["a"], x, model, "a"))
        wanted = torch.stack([alone[name][n] for n, name in enumerate(ROWS)])
        mixed = model(x, task=ROWS)
        close(mixed, wanted)
        close(learned(mixed, x, model, "a", "b"), learned(wanted, x, model, "a", "b"))
        close(model(x, task=["b", "none", "a"], broadcast=True), alone)
    with torch.no_grad():
        for order in (["a", "none", "b"], ["b", "a", "none"]):
            bank = model.bank(order)
            close(bank(x, task=ROWS), wanted)
            close(bank(x[:1], task=["none"]), alone["none"][:1])
            close(bank(x, task=["b", "none", "a"], broadcast=True), alone)


@pytest.mark.sampled(2)
@every_pair
def test_runs_as_the_formula_does(case: Case, layer: Layer) -> None:
    """In value and gradient: one task, rows of several, of which one leaves the layer alone, and a bank of them."""
    check_runs([case], layer)


@pytest.mark.sampled(2)
@every_layer
def test_one_inside_another_runs_as_the_formula_does(layer: Layer) -> None:
    cases = [case for case in CASES if case.slots(layer.kind(), 1) and case.name in ("change", "beside", "scale")]
    check_runs(cases, layer)
    if cases[-1].name == "scale":
        check_runs([*cases, cases[-1]], layer)


def check_folds(cases: Sequence[Case], layer: Layer) -> None:
    model = built(cases, layer)
    x = inputs(layer)
    refusals = [case.unfolded[layer.name] for case in cases if layer.name in case.unfolded]
    if refusals:
        with pytest.raises(ValueError, match=refusals[0]):
            model.fold("a")
        return
    folded = model.fold("a").eval()
    assert [type(module) for module in folded.modules()] == [type(module) for module in model.backbone.modules()]
    close(folded(x), model(x, task="a"))


@every_pair
def test_fold_is_the_task(case: Case, layer: Layer) -> None:
    check_folds([case], layer)


@every_layer
def test_fold_of_one_inside_another_is_the_task(layer: Layer) -> None:
    check_folds([case for case in CASES if case.slots(layer.kind(), 1) and case.name != "change-bias"], layer)


@every_pair
@torch.no_grad()
def test_neutral_is_the_plain_layer_bit_for_bit(case: Case, layer: Layer) -> None:
    torch.manual_seed(0)
    network = layer.network()
    kind = layer.kind().at(network.get_submodule(layer.path))
    neutral = case.intervention.neutral(kind, case.slots(kind, 3))
    model = MultiTask(network)
    task = model.add_task("a", method=OfRecipes(Given([case], layer, 3)))
    for _, part in parts_of(task):
        for name, leaf in part.own.items():
            leaf.copy_(neutral[name])
    x = inputs(layer)
    found, plain = model.eval()(x, task="a"), network(x)
    # How torch's recurrent layers round hangs on where their weights lie.
    assert torch.equal(found, plain) or (layer.name == "lstm" and torch.allclose(found, plain, rtol=1e-14))


@every_pair
def test_tasks_of_several_sizes_stand_together(case: Case, layer: Layer) -> None:
    """Smaller tensors are padded with zeros, and a task that leaves the layer alone has neutral ones."""
    kind = layer.kind()
    shapes = [case.slots(kind, size) for size in (3, 1)]
    each = [{name: torch.randn(shape, dtype=torch.float64) for name, shape in one.items()} for one in shapes]
    together = stacked(case.intervention, kind, [*each, None])
    assert together is not None
    for name, shape in shapes[0].items():
        first, second, third = together[name]
        assert torch.equal(first, each[0][name])
        assert torch.equal(second, padded(each[1][name], shape))
        assert torch.equal(third, case.intervention.neutral(kind, shapes[0])[name])


@every_pair
def test_tensors_of_other_sizes_do_not_fit(case: Case, layer: Layer) -> None:
    kind = layer.kind()
    tensors = {name: torch.zeros(shape) for name, shape in case.slots(kind, 2).items()}
    assert case.intervention.fits(kind, tensors)
    longer = {name: torch.cat([tensor, tensor]) for name, tensor in tensors.items()}
    assert not case.intervention.fits(kind, longer)


def test_the_table_has_every_intervention_at_every_layer_but_these() -> None:
    missing = {(case.name, layer.name) for case in CASES for layer in LAYERS} - {(c.name, la.name) for c, la in PAIRS}
    assert {layer for name, layer in missing if name == "scale"} == {"torch-attention", "lstm"}
    assert not [layer for name, layer in missing if name == "change"]
    assert Plain(LAYERS[0].kind(), "0")(torch.zeros(1, 7, dtype=torch.float64)).shape == (1, 5)

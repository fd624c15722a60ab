"""Masks on every layer kind: the layer with the masked weight, in value and gradient, beside any other intervention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from taskfold import MultiTask
from taskfold.factors import SVD, LowRank, Mask
from taskfold.kinds import kind_of
from taskfold.layers import Convolutions, Everything, Linears, Recipe, Update
from taskfold.routing import PolyRouting

from ..recipes import OfRecipes
from .cases import Case
from .test_laws import dense_of, every_case, gradients

MASKS = {"binary": Mask(0.5, start=1.0), "ternary": Mask(0.5, start=1.0, ternary=True)}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


def built(case: Case, mask: Mask, tasks: int = 2) -> tuple[nn.Module, MultiTask]:
    torch.manual_seed(0)
    network = nn.Sequential(case.build()).double()
    model = MultiTask(network)
    for n in range(tasks):
        model.add_task(f"task{n}", method=OfRecipes(Update(mask, case.where))).double()
    return network, model.eval()


def stirred(model: MultiTask) -> None:
    for name in model.tasks:
        for parameter in model[name].parameters():
            nn.init.normal_(parameter, mean=0.5)


@every_case
@every_mask
def test_it_starts_exactly_and_runs_as_the_masked_weight_does(case: Case, mask: Mask) -> None:
    network, model = built(case, mask)
    x = torch.randn(2, *case.shape, dtype=torch.float64, requires_grad=True)
    # The weight is the same; fused attention and recurrent layers add in another order where theirs has a gradient.
    torch.testing.assert_close(model(x, task="task0"), network(x), rtol=1e-12, atol=1e-12)
    stirred(model)
    found, oracle = model(x, task="task0"), functional_call(network, dense_of(model, "task0"), (x,))
    torch.testing.assert_close(found, oracle)
    assert not torch.allclose(found, network(x))
    torch.testing.assert_close(gradients(found, x, model), gradients(oracle, x, model))


@pytest.mark.sampled(2)
@every_case
@every_mask
def test_mixed_rows_folds_and_banks_are_the_tasks_one_by_one(case: Case, mask: Mask) -> None:
    _, model = built(case, mask)
    stirred(model)
    x, names = torch.randn(3, *case.shape, dtype=torch.float64), ["task1", "task0", "task1"]
    bank = model.bank()
    assert bank.table.numbers.shape[1] == 0 < bank.table.bits.shape[1]
    with torch.no_grad():
        alone = torch.cat([model(x[n : n + 1], task=name) for n, name in enumerate(names)])
        assert not torch.allclose(alone[:1], model(x[:1], task="task0"))
        for found in (model(x, task=names), bank(x, task=names)):
            torch.testing.assert_close(found, alone)
        for several in (model, bank):
            for name, output in several(x, task=["task0", "task1"], broadcast=True).items():
                torch.testing.assert_close(output, model(x, task=name))
                torch.testing.assert_close(model.fold(name)(x), output)


MASK = MASKS["ternary"]
STACKS = {
    "copies inside": (Everything(), Update(MASK, Linears())),
    "an expansion outside": (Update(MASK, Linears()), Update(SVD(), Linears())),
    "a mask outside": (Update(MASK, Linears()), Update(MASK, Linears())),
    "low rank outside": (Update(MASK, Linears()), Update(LowRank(2, init="normal"), Linears())),
}


@pytest.mark.parametrize("recipes", STACKS.values(), ids=STACKS)
def test_masks_stand_with_what_else_a_task_does_there(recipes: tuple[Recipe, ...]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 5)).double()
    model = MultiTask(network, OfRecipes(*recipes)).eval()
    for name in "ab":
        model.add_task(name).double()
        stirred(model)
    x = torch.randn(4, 7, dtype=torch.float64)
    with torch.no_grad():
        wanted = {name: functional_call(network, whole(model, name), (x,)) for name in "ab"}
        assert not torch.allclose(wanted["a"], wanted["b"])
        rows, bank = ["b", "a", "a", "b"], model.bank()
        for name, output in wanted.items():
            torch.testing.assert_close(model(x, task=name), output)
            torch.testing.assert_close(model.fold(name)(x), output)
        mixed = torch.stack([wanted[name][n] for n, name in enumerate(rows)])
        torch.testing.assert_close(model(x, task=rows), mixed)
        torch.testing.assert_close(bank(x, task=rows), mixed)


def whole(model: MultiTask, name: str) -> dict[str, Tensor]:
    """The layer's tensors, one part after another."""
    kind = kind_of(model.backbone[0])  # type: ignore[index]
    tensors = dict(kind.tensors())
    for _, part in model[name].sites["0"]:  # type: ignore[union-attr]
        own = part.own.held()
        if "mask" in own:
            tensors["weight"] = tensors["weight"] * MASK.bits.levels(own["mask"])
        elif "up" in own:
            tensors["weight"] = tensors["weight"] + own["up"] @ own["down"]
        elif "u" in own:
            tensors["weight"] = own["u"] @ own["v"]
        else:
            tensors |= own
    return {f"0.{key}": tensor for key, tensor in tensors.items()}


def test_a_rule_that_mixes_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'poly' mixes factors, and Mask masks a layer's weight.*'private' or 'shared'"
    ):
        Update(Mask(), Convolutions(), PolyRouting())

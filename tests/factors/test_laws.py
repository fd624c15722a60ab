"""The laws of factorisations, over the table of cases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from taskfold.factors import CP, TERMS, Entangled, Factorisation, LowRank, Modes
from taskfold.factors._entangled import root

from .cases import CASES, Case

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def made(factorisation: Factorisation, modes: Modes, rows: int | None = None) -> dict[str, Tensor]:
    leaves = {}
    for name, leaf in factorisation.leaves(modes).items():
        tensor = torch.empty((rows, *leaf.shape) if rows else leaf.shape, dtype=torch.float64)
        for one in tensor if rows else [tensor]:
            leaf.start(one)
        leaves[name] = tensor.requires_grad_()
    return leaves


def terms_of(case: Case) -> int:
    leaf = next(iter(case.factorisation.leaves(case.modes).values()))
    return leaf.shape[leaf.axes.index("term")]


@every_case
def test_materialise_is_the_formula_in_value_and_gradient(case: Case) -> None:
    leaves = made(case.factorisation, case.modes)
    weight, wanted = case.factorisation.materialise(leaves, case.modes), case.oracle(leaves)
    assert weight.shape == case.modes.shape
    torch.testing.assert_close(weight, wanted)
    toward = torch.randn_like(weight)
    found = torch.autograd.grad((weight * toward).sum(), list(leaves.values()))
    expected = torch.autograd.grad((wanted * toward).sum(), list(leaves.values()))
    torch.testing.assert_close(found, expected)


@every_case
def test_bottleneck_is_dense(case: Case) -> None:
    leaves = made(case.factorisation, case.modes)
    bottleneck = case.factorisation.bottleneck(leaves, case.modes)
    assert bottleneck is not None
    torch.testing.assert_close(bottleneck.dense().reshape(case.modes.shape), case.oracle(leaves))


@every_case
def test_rows_are_the_weights_one_by_one(case: Case) -> None:
    """Leaves of a batch of tasks make the weights of each; smaller ranks are padded without effect."""
    leaves = made(case.factorisation, case.modes, rows=3)
    each = [case.oracle({k: v[n] for k, v in leaves.items()}) for n in range(3)]
    torch.testing.assert_close(case.factorisation.materialise(leaves, case.modes), torch.stack(each))


@every_case
def test_terms_are_what_is_summed(case: Case) -> None:
    """One-hot weights take the sum apart; any weights are that combination of its parts."""
    if case.name.startswith("entangled"):
        return  # A and B are sums each: see the next law
    leaves, terms = made(case.factorisation, case.modes), terms_of(case)
    parts = case.factorisation.materialise({**leaves, TERMS: torch.eye(terms, dtype=torch.float64)}, case.modes)
    torch.testing.assert_close(parts.sum(0), case.oracle(leaves))
    weights = torch.rand(terms, dtype=torch.float64)
    weighed = case.factorisation.materialise({**leaves, TERMS: weights}, case.modes)
    torch.testing.assert_close(weighed, torch.einsum("k,k...->...", weights, parts))


@pytest.mark.parametrize("case", [case for case in CASES if case.name.startswith("entangled")], ids=lambda c: c.name)
def test_terms_of_both_sides_are_weighed(case: Case) -> None:
    """A_t = Σ α_k A_k and B_t = Σ α_k B_k with the same α, each product made by itself."""
    factorisation = case.factorisation
    assert isinstance(factorisation, Entangled)
    leaves, terms = made(factorisation, case.modes), terms_of(case)
    weights = torch.rand(2, terms, dtype=torch.float64, requires_grad=True)
    alone = replace(factorisation, tensor_rank=1)
    parts = [alone.bottleneck({k: v[:, n : n + 1] for k, v in leaves.items()}, case.modes) for n in range(terms)]
    up = torch.einsum("tk,kor->tor", weights, torch.stack([part.up for part in parts]))
    down = torch.einsum("tk,kr...->tr...", weights, torch.stack([part.down for part in parts]))
    wanted = torch.einsum("tor,tr...->to...", up, down)
    found = factorisation.materialise({**leaves, TERMS: weights}, case.modes)
    torch.testing.assert_close(found, wanted)
    numbers = [*leaves.values(), weights]
    toward = torch.randn_like(wanted)
    torch.testing.assert_close(
        torch.autograd.grad((found * toward).sum(), numbers), torch.autograd.grad((wanted * toward).sum(), numbers)
    )


@every_case
def test_count(case: Case) -> None:
    leaves = case.factorisation.leaves(case.modes)
    assert sum(torch.Size(leaf.shape).numel() for leaf in leaves.values()) == case.count
    assert all(len(leaf.axes) == len(leaf.shape) for leaf in leaves.values())


@every_case
def test_zero_start_is_exact_and_has_gradient(case: Case) -> None:
    start = replace(case.factorisation, init="zero")  # type: ignore[call-arg]
    leaves = made(start, case.modes)
    weight = start.materialise(leaves, case.modes)
    assert not weight.any()
    gradients = torch.autograd.grad((weight * torch.randn_like(weight)).sum(), list(leaves.values()))
    assert any(gradient.any() for gradient in gradients), "a start without gradient never learns"


def test_xavier_start_is_as_large_as_the_paper_says() -> None:
    torch.manual_seed(0)
    modes = Modes((64,), (64,), (3, 3))
    factorisation = CP(rank=50, init="xavier")
    stds = [factorisation.materialise(made(factorisation, modes), modes).std().item() for _ in range(5)]
    assert sum(stds) / 5 == pytest.approx(0.024, abs=0.002)


@pytest.mark.parametrize("kind", [CP, LowRank, Entangled])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, r"rank must be a whole number ≥ 1, found 0"),
        ({"rank": 2.0}, r"rank must be a whole number ≥ 1, found 2.0"),
        ({"rank": True}, r"found True"),
        ({"rank": {"a": -1}}, r"rank\['a'\] must be a whole number ≥ 0, found -1"),
        ({"alpha": 0}, r"alpha must be a finite number > 0"),
        ({"alpha": -1.0}, r"alpha must be a finite number > 0"),
        ({"init": "zeros"}, r"init='zeros' is not known; choose one of 'zero', 'xavier', 'normal'"),
    ],
)
def test_bad_settings_are_named_at_construction(kind: type[Factorisation], settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)


@pytest.mark.parametrize("name", ["tensor_rank", "order"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_entangled_sizes_are_whole(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number ≥ 1, found {value!r}"):
        Entangled(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_integer_root(order: int) -> None:
    for q in (1, 2, 3, 10, 46, 1001):
        assert root(q**order, order) == q
        assert root(q**order + 1, order) == q + 1


def test_entangled_starts_as_large_as_lora() -> None:
    torch.manual_seed(0)
    modes = Modes((64,), (400,))
    wanted = LowRank(rank=16).bottleneck(made(LowRank(rank=16), modes), modes).down.std().item()
    for order, terms in ((1, 1), (2, 1), (2, 8), (3, 4)):
        kind = Entangled(rank=16, tensor_rank=terms, order=order)
        found = kind.bottleneck(made(kind, modes), modes).down.std().item()
        assert found == pytest.approx(wanted, rel=0.35)


def test_rank_per_layer() -> None:
    factorisation = CP(rank={"layer4.*": 8, "layer1.*": 0, "*": 2})
    found = [factorisation.at(layer) for layer in ("layer4.0.conv1", "layer2.0.conv1", "layer1.0.conv1")]
    assert [f and f.size for f in found] == [8, 2, None]
    with pytest.raises(ValueError, match=r"no entry for layer 'conv1'.*add '\*'"):
        CP(rank={"layer4.*": 8}).at("conv1")

"""The laws of expansions: one makes the weight of its formula, and begins at the layer's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from taskfold.factors import SVD, TERMS, Expansion, LinearExpansion, Modes
from taskfold.layers import Convolutions, Update
from taskfold.routing import Diagonal, PolyRouting

Leaves = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    name: str
    expansion: Expansion
    modes: Modes
    oracle: Callable[[Leaves], Tensor]
    """The weight `[O, I, *kernel]`, by the paper's formula."""
    count: int
    exact: bool = True
    """Whether it has room for any weight."""


def _sum(equation: str, *names: str) -> Callable[[Leaves], Tensor]:
    return lambda leaves: torch.einsum(equation, *(leaves[name] for name in names))


svd_conv, svd_linear = _sum("obr,ria->oiab", "u", "v"), _sum("or,ri->oi", "u", "v")
three = _sum("ow,wdab,di->oiab", "last", "middle", "first")
CASES = [
    Case("svd-linear", SVD(), Modes((5,), (7,)), svd_linear, 5 * (5 + 7)),
    Case("svd-linear-tall", SVD(), Modes((9,), (4,)), svd_linear, 4 * (9 + 4)),
    Case("svd-linear-rank-2", SVD(rank=2), Modes((5,), (7,)), svd_linear, 2 * (5 + 7), exact=False),
    Case("svd-heads", SVD(), Modes((3, 2), (4,)), svd_linear, 4 * (6 + 4)),
    Case("svd-conv", SVD(), Modes((6,), (4,), (3, 3)), svd_conv, 12 * (4 * 3 + 6 * 3)),
    Case("svd-conv-1x1", SVD(), Modes((6,), (4,), (1, 1)), svd_conv, 4 * (4 + 6)),
    Case("svd-conv-1x3", SVD(), Modes((6,), (4,), (1, 3)), svd_conv, 4 * (4 + 6 * 3)),
    Case("svd-conv-5x1", SVD(), Modes((6,), (4,), (5, 1)), svd_conv, 6 * (4 * 5 + 6)),
    Case("svd-conv-even", SVD(), Modes((6,), (4,), (2, 4)), svd_conv, 8 * (4 * 2 + 6 * 4)),
    Case("svd-conv-rank-3", SVD(rank=3), Modes((6,), (4,), (3, 3)), svd_conv, 3 * (12 + 18), exact=False),
    Case("svd-conv-more-than-full", SVD(rank=99), Modes((6,), (4,), (3, 3)), svd_conv, 12 * (12 + 18)),
    Case("svd-grouped", SVD(), Modes((6,), (2,), (3, 3), groups=2), svd_conv, 6 * (6 + 18)),
    Case("svd-depthwise", SVD(), Modes((8,), (1,), (5, 5), groups=8), svd_conv, 5 * (5 + 40)),
    Case(
        "three-linear",
        LinearExpansion(rate=2),
        Modes((5,), (3,)),
        _sum("ow,wd,di->oi", "last", "middle", "first"),
        6 * 3 + 10 * 6 + 5 * 10,
    ),
    Case("three-conv", LinearExpansion(rate=2), Modes((4,), (3,), (3, 3)), three, 6 * 3 + 8 * 6 * 9 + 4 * 8),
    Case("three-conv-rate-1", LinearExpansion(rate=1), Modes((4,), (6,), (3, 2)), three, 36 + 4 * 6 * 6 + 16),
    Case("three-conv-rate-1.5", LinearExpansion(rate=1.5), Modes((3,), (5,), (1, 1)), three, 8 * 5 + 5 * 8 + 3 * 5),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def drawn(case: Case, tasks: int | None = None) -> Leaves:
    torch.manual_seed(0)
    shapes = {name: leaf.shape for name, leaf in case.expansion.leaves(case.modes).items()}
    lead = () if tasks is None else (tasks,)
    return {n: torch.randn(*lead, *shape, dtype=torch.float64).requires_grad_() for n, shape in shapes.items()}


@every_case
def test_the_weight_is_the_formula_in_value_and_gradient(case: Case) -> None:
    leaves = drawn(case)
    assert sum(leaf.numel() for leaf in leaves.values()) == case.count
    found, wanted = case.expansion.materialise(leaves, case.modes), case.oracle(leaves)
    torch.testing.assert_close(found, wanted)
    toward, learned = torch.randn_like(wanted), list(leaves.values())
    torch.testing.assert_close(
        torch.autograd.grad((found * toward).sum(), learned), torch.autograd.grad((wanted * toward).sum(), learned)
    )


@every_case
def test_it_begins_at_the_layer_s_own_weight(case: Case) -> None:
    torch.manual_seed(1)
    weight = torch.randn(case.modes.shape, dtype=torch.float64)
    leaves = case.expansion.begin(weight, case.modes)
    assert {n: t.shape for n, t in leaves.items()} == {n: t.shape for n, t in drawn(case).items()}
    made = case.expansion.materialise(leaves, case.modes)
    if case.exact:
        torch.testing.assert_close(made, weight)
        return
    # No other weight of that rank is nearer (Eckart and Young): what is left over are the smaller singular values.
    matrix = weight if not case.modes.kernel else weight.permute(0, 3, 1, 2).flatten(2).flatten(0, 1)
    left = torch.linalg.svdvals(matrix)[len(leaves["v"]) :]
    torch.testing.assert_close((weight - made).norm(), left.norm())


@every_case
def test_a_zero_weight_learns(case: Case) -> None:
    """Exactly zero, and yet some leaf has a gradient."""
    leaves = case.expansion.begin(torch.zeros(case.modes.shape, dtype=torch.float64), case.modes)
    made = case.expansion.materialise({n: leaf.requires_grad_() for n, leaf in leaves.items()}, case.modes)
    assert not made.any()
    made.sum().backward()
    assert any(leaf.grad is not None and leaf.grad.any() for leaf in leaves.values())


@every_case
def test_tasks_together_are_the_tasks_one_by_one(case: Case) -> None:
    leaves = drawn(case, tasks=3)
    each = [case.oracle({name: leaf[n] for name, leaf in leaves.items()}) for n in range(3)]
    torch.testing.assert_close(case.expansion.materialise(leaves, case.modes), torch.stack(each))


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.expansion, SVD)], ids=lambda case: case.name)
@pytest.mark.parametrize("diagonals", [1, 3])
def test_diagonals_weigh_the_terms(case: Case, diagonals: int) -> None:
    """U diag(m₁ ∘ m₂ ∘ …) V, for one task and for several, in value and gradient."""
    leaves, rule = drawn(case), Diagonal(diagonals)
    specs = case.expansion.leaves(case.modes)
    shape = rule.own(specs)["diagonal"].shape
    assert shape == (diagonals, len(leaves["v"]))
    m = torch.randn(2, *shape, dtype=torch.float64).requires_grad_()
    chosen = rule.select(leaves, {"diagonal": m}, specs, training=True)
    found = case.expansion.materialise(chosen, case.modes)
    scaled = [leaves["v"] * m[n].prod(0).reshape(-1, *(1 for _ in leaves["v"].shape[1:])) for n in range(2)]
    wanted = torch.stack([case.oracle({**leaves, "v": v}) for v in scaled])
    torch.testing.assert_close(found, wanted)
    toward, learned = torch.randn_like(wanted), [m, *leaves.values()]
    torch.testing.assert_close(
        torch.autograd.grad((found * toward).sum(), learned), torch.autograd.grad((wanted * toward).sum(), learned)
    )
    one = case.expansion.materialise({**leaves, TERMS: m[1].prod(0)}, case.modes)
    torch.testing.assert_close(one, wanted[1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SVD(rank=0), "rank must be a whole number ≥ 1, found 0"),
        (lambda: SVD(rank={"*": -1}), r"rank\['\*'\] must be a whole number ≥ 0, found -1"),
        (lambda: LinearExpansion(rate=0.5), "rate must be a finite number ≥ 1, found 0.5"),
        (lambda: LinearExpansion(rate=float("nan")), "rate must be a finite number ≥ 1, found nan"),
        (lambda: LinearExpansion().leaves(Modes((4,), (1,), (3, 3), groups=4)), "of 4 groups cannot be expanded"),
        (lambda: Diagonal(0), "diagonals must be a whole number ≥ 1, found 0"),
        (lambda: Update(SVD(), Convolutions(), PolyRouting()), "sharing='poly' mixes factors"),
    ],
)
def test_bad_settings_are_named(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()

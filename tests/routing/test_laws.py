"""The laws of routed rules, over the table of cases."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskfold.factors import CP, Entangled, Factorisation, LowRank, Modes
from taskfold.routing import (
    LOGITS,
    MultiHeadRouting,
    OrderRouting,
    PolyRouting,
    Private,
    Shared,
    Sharing,
    TermRouting,
    sharing,
)

from .cases import CASES, Case

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def numbers(case: Case, tasks: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
    """Inventory and logits of some tasks, all of them random."""
    leaves = case.factorisation.leaves(case.modes)
    bank = {
        name: torch.randn(leaf.shape, dtype=torch.float64).requires_grad_()
        for name, leaf in case.rule.inventory(leaves).items()
    }
    shape = case.rule.own(leaves)[LOGITS].shape
    logits = torch.randn((tasks, *shape) if tasks else shape, dtype=torch.float64) * 2
    return bank, logits.requires_grad_()


def weight(case: Case, bank: dict[str, Tensor], logits: Tensor, training: bool = False) -> Tensor:
    leaves = case.factorisation.leaves(case.modes)
    chosen = case.rule.select(bank, {LOGITS: logits}, leaves, training)
    return case.factorisation.materialise(chosen, case.modes)


def alpha(logits: Tensor) -> Tensor:
    """The definition: sigmoids that sum to one, `[groups, experts]`."""
    z = 1 / (1 + (-logits).exp())
    return (z / z.sum(-1, keepdim=True)).reshape(-1, logits.shape[-1])


@every_case
def test_a_task_is_the_sum_over_experts_in_value_and_gradient(case: Case) -> None:
    bank, logits = numbers(case)
    found, wanted = weight(case, bank, logits), case.oracle(bank, alpha(logits))
    torch.testing.assert_close(found, wanted)
    assert wanted.abs().max() > 1e-3
    toward, learned = torch.randn_like(wanted), [*bank.values(), logits]
    torch.testing.assert_close(
        torch.autograd.grad((found * toward).sum(), learned), torch.autograd.grad((wanted * toward).sum(), learned)
    )


@every_case
def test_tasks_together_are_the_tasks_one_by_one(case: Case) -> None:
    bank, logits = numbers(case, tasks=3)
    torch.testing.assert_close(weight(case, bank, logits), torch.stack([weight(case, bank, one) for one in logits]))


@every_case
def test_counts(case: Case) -> None:
    bank, logits = numbers(case)
    assert (sum(leaf.numel() for leaf in bank.values()), logits.numel()) == (case.inventory, case.routing)


@every_case
@pytest.mark.parametrize("allocation", ["sigmoid", "bernoulli", "random"])
def test_weights_sum_to_one(case: Case, allocation: str) -> None:
    rule = type(case.rule)(**{**case.rule.__dict__, "allocation": allocation})
    _, logits = numbers(case, tasks=50)
    for training in (True, False):
        mixed = rule.mixing(logits, training)
        torch.testing.assert_close(mixed.sum(-1), torch.ones_like(mixed[..., 0]))
        assert (mixed >= 0).all()
    same = torch.equal(rule.mixing(logits, True), rule.mixing(logits, True))
    assert same == (allocation == "sigmoid"), "drawn anew each time, but in evaluation"
    torch.testing.assert_close(rule.mixing(logits, False).reshape(-1, logits.shape[-1]), alpha(logits))


def test_relaxed_bernoulli_is_torchs() -> None:
    """The same distribution: mean and variance of many draws."""
    rule = PolyRouting(allocation="bernoulli")
    logits = torch.tensor([-2.0, 0.0, 1.5]).expand(200_000, 3)
    theirs = torch.distributions.RelaxedBernoulli(torch.tensor(1.0), logits=logits).rsample()
    theirs = theirs / theirs.sum(-1, keepdim=True)
    mine = rule.mixing(logits, True)
    torch.testing.assert_close(mine.mean(0), theirs.mean(0), atol=3e-3, rtol=0)
    torch.testing.assert_close(mine.var(0), theirs.var(0), atol=3e-3, rtol=0)


def test_random_allocation_is_binary_and_even_on_average() -> None:
    rule = TermRouting(allocation="random")
    drawn = rule.mixing(torch.zeros(20_000, 4), True)
    chosen = drawn > 0
    torch.testing.assert_close(drawn, chosen / chosen.sum(-1, keepdim=True))
    torch.testing.assert_close(drawn.mean(0), torch.full((4,), 0.25), atol=0.01, rtol=0)
    logits = rule.own(LowRank(rank=4).leaves(Modes((6,), (8,))))[LOGITS]
    start = torch.full(logits.shape, 7.0)
    logits.start(start)
    assert torch.equal(rule.mixing(start, False), torch.full((4,), 0.25))


@pytest.mark.parametrize(
    ("rule", "factorisation", "modes", "message"),
    [
        (TermRouting(), CP(rank=1), Modes((6,), (8,)), "at least 2 of them.*raise tensor_rank"),
        (OrderRouting(), Entangled(tensor_rank=1), Modes((6,), (8,)), "at least 2 of them.*raise tensor_rank"),
        (MultiHeadRouting(splits=4), LowRank(), Modes((6,), (8,)), r"splits=4 does not divide the 6 of axis 'out'"),
        (MultiHeadRouting(splits=2), CP(), Modes((6,), (4,), (3, 3)), r"leaf 'kernel'.*use sharing 'poly'"),
    ],
)
def test_impossible_pairs_are_refused(rule: Sharing, factorisation: Factorisation, modes: Modes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule.inventory(factorisation.leaves(modes))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PolyRouting(skills=1), "skills must be a whole number ≥ 2, found 1"),
        (lambda: MultiHeadRouting(splits=0), "splits must be a whole number ≥ 1, found 0"),
        (lambda: PolyRouting(allocation="softmax"), "allocation='softmax' is not known; choose one of 'sigmoid'"),  # type: ignore[arg-type]
        (lambda: TermRouting(granularity="token"), "granularity='token' is not known; choose one of 'layer'"),  # type: ignore[arg-type]
        (
            lambda: sharing("routed"),
            "sharing='routed' is not known; choose one of 'core', 'diagonal', 'mhr', 'poly'",
        ),
        (lambda: sharing({"name": "poly", "splits": 4}), "sharing 'poly' has no setting 'splits'; settings: "),
    ],
)
def test_bad_settings_are_named(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


def test_rules_by_name() -> None:
    known = {"private": Private, "shared": Shared, "poly": PolyRouting, "mhr": MultiHeadRouting}
    known |= {"tensorpoly-i": TermRouting, "tensorpoly-ii": OrderRouting}
    assert {name: type(sharing(name)) for name in known} == known

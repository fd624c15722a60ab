"""Balanced gradients, against TorchJD's aggregator on a Jacobian computed here row by row."""

from __future__ import annotations

import sys
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskfold.layers import inventory_of
from taskfold.train import train_together
from taskfold.train._balance import Balance, aggregator
from taskfold.train._gradients import Balanced, Losses, Plain

from .joint import ONE_STEP, PRIVATE, SIZES, everything, points, sets, team


class Alone:
    """As much of an Accelerator as gradients ask for in one process."""

    num_processes = 1
    device = torch.device("cpu")

    def backward(self, loss: Tensor) -> None:
        loss.backward()


ALONE: Any = Alone()


def conflicting() -> tuple[nn.Parameter, list[nn.Parameter], Losses, list[Tensor]]:
    """Two tasks that pull a shared vector apart, one of them far harder; each has a number of its own."""
    shared, own = nn.Parameter(torch.tensor([0.3, 0.1])), [nn.Parameter(torch.tensor(float(n + 1))) for n in (0, 1)]
    scale = torch.tensor([[10.0, 1.0], [-1.0, 1.0]])
    per_task = [(scale[n] @ shared) * own[n] for n in (0, 1)]
    index = torch.tensor([0, 0, 0, 1])
    values = torch.stack([per_task[n] for n in index.tolist()])
    return shared, own, Losses(values, index, 4), per_task


def test_upgrad_goes_against_neither_of_two_tasks_that_conflict() -> None:
    shared, own, losses, per_task = conflicting()
    jacobian = torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0] for loss in per_task])
    Plain.of([shared, *own], [1.0, 1.0], ALONE)(losses)
    plain = [p.grad.clone() for p in (shared, *own)]  # type: ignore[union-attr]
    assert (jacobian @ plain[0]).min() < 0

    shared, own, losses, _ = conflicting()
    Balanced.of(aggregator("upgrad"), [shared], own, [1.0, 1.0], ALONE)(losses)
    assert (jacobian @ shared.grad >= -1e-5).all()  # type: ignore[operator]
    assert (jacobian @ shared.grad).max() > 0.1  # type: ignore[operator]
    assert [p.grad for p in own] == plain[1:]


DRAWS_LOTS = {"pcgrad"}


@pytest.mark.parametrize("name", sorted(set(get_args(Balance)) - DRAWS_LOTS))
def test_a_balanced_step_is_the_aggregators(name: Balance) -> None:
    model, oracle = team(), team()
    before = everything(oracle)
    settings = ONE_STEP.model_copy(update={"balance": name, "task_weights": {"b": 2.0}})
    train_together(model, sets(), settings)
    leaves = list(inventory_of(oracle["a"]).values())
    rows = []
    for task, size in SIZES.items():
        inputs, targets = points(task, size).tensors
        loss = F.cross_entropy(oracle.train()(inputs, task=task), targets) * (2.0 if task == "b" else 1.0)
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, leaves, retain_graph=True)]))
        (loss * size / 37).backward(inputs=list(oracle[task].parameters()))
    direction = aggregator(name)(torch.stack(rows))
    parts = direction.split([leaf.numel() for leaf in leaves])
    found = list(inventory_of(model["a"]).values())
    for leaf, start, part in zip(found, leaves, parts, strict=True):
        torch.testing.assert_close(leaf, start - 0.1 * part.reshape(start.shape), rtol=1e-3, atol=1e-5)
    for task in SIZES:
        for mine, theirs in zip(model[task].parameters(), oracle[task].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad, rtol=1e-4, atol=1e-6)  # type: ignore[operator]
    assert everything(oracle) == before


@pytest.mark.parametrize("name", sorted(DRAWS_LOTS))
def test_what_draws_lots_repeats_itself(name: Balance) -> None:
    runs = []
    for seed in (0, 1):
        model = team()
        torch.manual_seed(seed)
        train_together(model, sets(), ONE_STEP.model_copy(update={"balance": name}))
        runs.append(everything(model))
    assert runs[0] == runs[1] != everything(team())


def test_what_no_task_in_the_batch_uses_has_no_gradient() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    losses = Losses((used.sum() * torch.ones(3)), torch.tensor([0, 0, 2]), 3)
    Balanced.of(aggregator("upgrad"), [used, unused], [], [1.0, 1.0, 1.0], ALONE)(losses)
    assert unused.grad is None
    assert used.grad is not None


def test_a_loss_that_is_no_number_reaches_the_gradients() -> None:
    shared = nn.Parameter(torch.ones(2))
    losses = Losses(shared.sum() * torch.tensor([1.0, float("nan")]), torch.tensor([0, 1]), 2)
    Balanced.of(aggregator("upgrad"), [shared], [], [1.0, 1.0], ALONE)(losses)
    assert not torch.isfinite(shared.grad).any()  # type: ignore[arg-type]


def test_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ONE_STEP.model_copy(update={"balance": "upgrad"})
    with pytest.raises(ValueError, match="balance='upgrad' needs something that the tasks share"):
        train_together(team(PRIVATE), sets(), settings)
    for missing in ("torchjd", "quadprog"):
        with monkeypatch.context() as patch:
            for module in [m for m in sys.modules if m.split(".")[0] == missing]:
                patch.delitem(sys.modules, module)
            patch.setitem(sys.modules, missing, None)
            with pytest.raises(ImportError, match=r'balance=.upgrad. needs TorchJD: pip install "taskfold\[balance\]"'):
                train_together(team(), sets(), settings)

"""Layers that are recomputed in the backward pass train to the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from taskfold import FTN, FineTuning, HardSharing, MultiTask, Poly, RepVGG, checkpoint_context
from taskfold.train import train_together

from .joint import ONE_STEP, QUICK, SIZES, everything, sets


class Net(nn.Module):
    """A block that forgets its activations, or one that keeps them."""

    def __init__(self, forgets: bool) -> None:
        super().__init__()
        self.block, self.forgets = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 6)), forgets

    def forward(self, x: Tensor) -> Any:
        if not (self.forgets and self.training):
            return self._block(x)
        return checkpoint(self._block, x, use_reentrant=False, context_fn=checkpoint_context)

    def _block(self, x: Tensor) -> Tensor:
        return self.block(x.flatten(1))


BALANCED = ONE_STEP.model_copy(update={"balance": "upgrad"})


@pytest.mark.parametrize("settings", [QUICK, BALANCED], ids=["plain", "upgrad"])
def test_it_changes_nothing(settings: Any) -> None:
    found = []
    for forgets in (False, True):
        torch.manual_seed(0)
        model = MultiTask(Net(forgets), Poly(rank=2, skills=2, init="normal"), num_features=6)
        for number, name in enumerate(SIZES):
            model.add_task(name, 2 + number)
        start = everything(model)
        train_together(model, sets(), settings)
        assert everything(model) != start
        found.append(everything(model))
    assert found[0] == found[1]


def test_the_plain_network_and_a_fold_recompute_too() -> None:
    network, x = Net(forgets=True), torch.randn(2, 12, requires_grad=True)
    model = MultiTask(network, HardSharing(), num_features=6)
    model.add_task("a", 2)
    for one in (network, model.fold("a")):
        one.train()(x).sum().backward()
    assert x.grad is not None


class Normalised(nn.Module):
    """Stages with statistics, of which some are computed again."""

    num_features = 8

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.inner = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
        self.last = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.again = again

    def _outer(self, x: Tensor) -> Tensor:
        return self._run(self.inner, x).relu()

    def _run(self, block: Any, x: Tensor) -> Tensor:
        once: dict[str, Any] = {"use_reentrant": False, "context_fn": checkpoint_context}
        return checkpoint(block, x, **once) if self.again else block(x)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(self.last, self._run(self._outer, self.first(x))).mean((2, 3))


METHODS = {
    "own": FTN(rank=2),
    "fine-tuning": FineTuning(),
    "common": HardSharing(),
    "branches": RepVGG(),
    "kept": FTN(rank=2, norm=False),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("rows", ["a", ["a", "b", "b", "a"], ["a", "a", "b", "a"]], ids=["one", "even", "uneven"])
def test_statistics_move_once(method: Any, rows: Any) -> None:
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        model = MultiTask(Normalised(again), method).train()
        for name in "ab":
            model.add_task(name, head=3)
        x = torch.randn(4, 3, 9, 9)
        made = model(x, task=rows)
        before = {name: one.detach().clone() for name, one in state(model).items()}
        torch.stack(list(made)).square().sum().backward()
        for name, after in state(model).items():
            assert torch.equal(after, before[name]), name
        grads = {f"{name}.grad": p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append({**before, **grads})
    assert found[0].keys() == found[1].keys()
    for name, one in found[0].items():
        assert torch.equal(found[1][name], one), name


def state(model: MultiTask) -> dict[str, Tensor]:
    return dict(model.state_dict(keep_vars=True))

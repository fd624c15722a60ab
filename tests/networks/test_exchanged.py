"""Adapted layers replaced by others: equal ones run, different ones are refused by name until the old ones are back."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import taskfold as tfold
from taskfold import Method, MultiTask

METHODS = (
    tfold.LoRA(rank=2, layers="linear", init="normal"),
    tfold.FineTuning(),
    tfold.SSF(targets=("first", "second")),
)
TASKS = list("abab")


class Net(nn.Module):
    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).tanh()
        return x if getattr(self, "second", None) is None else self.second(x)


def parametrised(change: Callable[[nn.Linear], object]) -> Callable[[Net], object]:
    return lambda net: change(net.second)


CHANGES: dict[str, tuple[Callable[[Net], object], str]] = {
    "wider": (
        lambda net: setattr(net, "second", nn.Linear(6, 9)),
        r"is a linear layer \(Linear\) with a weight of 9 × 6",
    ),
    "block": (lambda net: setattr(net, "second", nn.Sequential(nn.Linear(6, 6))), r"is a .* \(Sequential\)"),
    "identity": (lambda net: setattr(net, "second", nn.Identity()), r"is a .* \(Identity\) with no tensors"),
    "embedding": (lambda net: setattr(net, "second", nn.Embedding(6, 6)), r"is a .* \(Embedding\)"),
    "no bias": (
        parametrised(lambda one: setattr(one, "bias", None)),
        "with a weight of 6 × 6 now",
    ),
    "none": (lambda net: setattr(net, "second", None), "is gone"),
    "deleted": (lambda net: net._modules.pop("second", None), "is gone"),
    "pruned": (
        parametrised(lambda one: prune.l1_unstructured(one, "weight", amount=0.5)),
        "no plain parameter 'weight'",
    ),
    "weight norm": (parametrised(parametrizations.weight_norm), "no plain parameter 'weight'"),
    "spectral norm": (parametrised(parametrizations.spectral_norm), "no plain parameter 'weight'"),
}


def made(method: Method) -> MultiTask:
    torch.manual_seed(0)
    model = MultiTask(Net(), method).eval()
    for name in "ab":
        for parameter in model.add_task(name).parameters():
            nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("ran", [False, True], ids=["new", "ran"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_layer_that_is_no_longer_alike_is_refused_until_it_is_back(name: str, ran: bool, method: Method) -> None:
    change, words = CHANGES[name]
    model, x = made(method), torch.randn(4, 6)
    wanted, bank, kept = model(x, task=TASKS), model.bank(), model.backbone.second
    assert isinstance(kept, nn.Module)
    assert (wanted[0] - model(x, task="b")[0]).abs().max() > 0.1
    if ran:
        bank(x, task=TASKS)
    else:
        model, bank = copy.deepcopy(model), copy.deepcopy(bank)
        model = pickle.loads(pickle.dumps(model))
    parts = [(one, copy.deepcopy(one.backbone.second)) for one in (model, bank)]
    refused = rf"layer 'second' was a linear layer \(Linear\) with a weight of 6 × 6 and a bias of 6 .*{words}"
    for one, _ in parts:
        change(one.backbone)
    for answer in (
        lambda: model(x, task="a"),
        lambda: model(x, task=TASKS),
        lambda: model(x, task=["a", "b"], broadcast=True),
        lambda: model.fold("a"),
        model.bank,
        lambda: model.save_task("a", "never.tfold"),
        lambda: bank(x, task=TASKS),
        lambda: bank(x, task=["a", "b"], broadcast=True),
    ):
        with pytest.raises(ValueError, match=refused):
            answer()
    for one, part in parts:
        one.backbone.second = part
        torch.testing.assert_close(one(x, task=TASKS), wanted)


def test_tasks_that_leave_the_layer_alone_go_on() -> None:
    model, x = made(METHODS[0]), torch.randn(4, 6)
    for name in "cd":
        for parameter in model.add_task(name, method=tfold.LoRA(rank=1, targets="first")).parameters():
            nn.init.normal_(parameter)
    model(x, task=TASKS)
    model.backbone.second = nn.Identity()
    with pytest.raises(ValueError, match="'second' was"):
        model(x, task=["c", "a", "c", "d"])
    mixed = model(x, task=list("cdcd"))
    torch.testing.assert_close(mixed, torch.stack([model.fold(name)(x)[n] for n, name in enumerate("cdcd")]))
    model.remove_task("a")
    model.remove_task("b")
    torch.testing.assert_close(model(x, task=list("cdcd")), mixed)


@pytest.mark.parametrize("method", METHODS[:2], ids=lambda method: method.name)
def test_layers_that_are_alike_act(method: Method) -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model, x = made(method), torch.randn(4, 6)
    model(x, task=TASKS)
    for another in (nn.Linear(6, 6), Doubled(6, 6), nn.Linear(6, 6)):
        model.backbone.second = another.requires_grad_(False)
        wanted = torch.stack([model.fold(name)(x)[n] for n, name in enumerate(TASKS)])
        torch.testing.assert_close(model(x, task=TASKS), wanted)
        torch.testing.assert_close(model(x, task="a")[0], wanted[0])
        torch.testing.assert_close(model.bank()(x, task=TASKS), wanted)

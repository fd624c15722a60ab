"""Layers that no task can adapt are refused by name when one is added, for every method."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import taskfold as tfold


def old(wrap: Callable[..., nn.Module], layer: nn.Module, *args: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrap(layer, *args)


def of_type(dtype: torch.dtype) -> nn.Module:
    layer = nn.Linear(6, 6, bias=False)
    layer.weight = nn.Parameter(layer.weight.detach().to(dtype), requires_grad=False)
    return layer


COMPUTED = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(6, 6)),
    "without bias": lambda: parametrizations.weight_norm(nn.Linear(6, 6, bias=False)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(6, 6)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(6, 6)),
    "old weight norm": lambda: old(nn.utils.weight_norm, nn.Linear(6, 6)),
    "old spectral norm": lambda: old(nn.utils.spectral_norm, nn.Linear(6, 6)),
    "pruned": lambda: prune.l1_unstructured(nn.Linear(6, 6), "weight", 0.5),
    "convolution": lambda: parametrizations.weight_norm(nn.Conv2d(6, 6, 3)),
}
TYPES = {"float8": torch.float8_e4m3fn, "complex": torch.complex64}
METHODS: list[tfold.Method] = [
    tfold.FineTuning(),
    tfold.BitFit(),
    tfold.SSF(),
    tfold.LoRA(rank=2, layers="all"),
    tfold.TLoRA(tensor_rank=1, layers="linear"),
    tfold.Piggyback(),
    tfold.OverParameterised(),
    tfold.HardSharing(),
]
HOOKED = ("fine-tuning", "bitfit", "hard-sharing")
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@every_method
@pytest.mark.parametrize("name", COMPUTED)
def test_computed_weights(name: str, method: tfold.Method) -> None:
    layer = COMPUTED[name]()
    if method.name == "bitfit" and layer._parameters.get("bias") is None:
        pytest.skip("nothing of that layer is the task's")
    if name == "convolution" and method.name == "tlora":
        pytest.skip("of linear layers")
    net = nn.Sequential(nn.Conv2d(6, 6, 1) if name == "convolution" else nn.Linear(6, 6), layer)
    said = r"layer '1' \(.*\) has no plain parameter 'weight'; remove parametrisations \(torch.nn.utils.parametrize"
    model = tfold.MultiTask(net, method, num_features=6)
    if name in ("old weight norm", "old spectral norm", "pruned") and method.name in HOOKED:
        model.add_task("a", head=2)  # a hook computes of the task's tensors; a bank holds no such layers
        with pytest.raises(TypeError, match=said):
            model.bank()
        return
    with pytest.raises(TypeError, match=said):
        model.add_task("a")
    assert not len(model.tasks)
    assert not len(model.inventory)
    model.add_task("head", head=2, method=tfold.HeadOnly())


@every_method
@pytest.mark.parametrize("name", TYPES)
def test_types_that_nothing_trains_in(name: str, method: tfold.Method) -> None:
    if method.name == "bitfit":
        pytest.skip("it leaves weights alone")
    model = tfold.MultiTask(nn.Sequential(of_type(TYPES[name]), nn.Linear(6, 6)), method, num_features=6)
    said = rf"layer '0' \(linear layer, Linear\) has a 'weight' of {TYPES[name]}, and a task needs a floating-point one"
    with pytest.raises(TypeError, match=said):
        model.add_task("a", head=2)
    assert not len(model.tasks)
    head = model.add_task("head", head=2, method=tfold.HeadOnly()).head
    assert head is not None
    assert {parameter.dtype for parameter in head.parameters()} == {torch.float32}


def test_a_weight_that_is_no_parameter() -> None:
    """As `remove_parametrizations` leaves a frozen weight that had several sources."""
    layer = nn.Linear(6, 8).requires_grad_(False)
    nn.utils.parametrizations.weight_norm(layer)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    model = tfold.MultiTask(nn.Sequential(layer), tfold.LoRA(rank=2, layers="linear"))
    with pytest.raises(TypeError, match=r"has a tensor 'weight' that is no parameter; make it one: layer\.weight = nn"):
        model.add_task("a")
    layer.weight = nn.Parameter(layer.weight, requires_grad=False)
    model.add_task("a")

"""How an update runs: the choice by cost, and what the forms keep besides value and gradient (see `test_laws`)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import prod
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from taskfold import FTN, LoRA, MultiTask
from taskfold.interventions import Form, Load
from taskfold.kinds import Geometry, _convolution, _depthwise

FORMS = get_args(Form)
every_form = pytest.mark.parametrize("form", FORMS)


def conv_load(channels: int, pixels: int, rank: int, trains: bool = True) -> Load:
    """A 3×3 convolution on that many pixels of the batch."""
    return Load(9 * channels**2, channels * pixels, channels * pixels, pixels, rank, kernel=1, trains=trains)


@pytest.mark.parametrize(
    ("load", "form"),
    [
        (conv_load(64, 4 * 56**2, 8), "merged"),  # few weights, many pixels
        (conv_load(512, 4 * 7**2, 8), "factored"),  # many weights, few pixels
        (conv_load(64, 4 * 56**2, 400), "materialised"),  # a rank as wide as the layer
        (conv_load(64, 4 * 56**2, 8, trains=False), "merged"),
        (conv_load(512, 4 * 7**2, 8, trains=False), "factored"),
    ],
)
def test_the_cheapest_form(load: Load, form: Form) -> None:
    assert load.cheapest() == form


@pytest.mark.parametrize("trains", [True, False])
def test_more_pixels_turn_to_the_weight_and_more_rank_away_from_the_channels(trains: bool) -> None:
    order = {"factored": 0, "merged": 1, "materialised": 2}
    by_pixels = [order[conv_load(128, 4**n, 8, trains).cheapest()] for n in range(9)]
    assert by_pixels == sorted(by_pixels)
    by_rank = [order[replace(conv_load(128, 3136, 1, trains), rank=2**n).cheapest()] for n in range(12)]
    assert by_rank == sorted(by_rank)


def built(method: object = None, **settings: int) -> MultiTask:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 6, 3, padding=1, bias=False, **settings),
        nn.BatchNorm2d(6),
        nn.ReLU(True),
    ]
    model = MultiTask(nn.Sequential(*layers), method or FTN(rank=2, init="normal"))  # type: ignore[arg-type]
    model.add_task("a")
    return model


def scores(model: MultiTask, x: Tensor) -> Tensor:
    y = model(x, task="a")
    return (y * torch.arange(y.numel(), dtype=torch.float64).reshape(y.shape).cos().to(y.dtype)).sum()


@pytest.mark.parametrize(
    "method", [FTN(rank=2, init="normal"), LoRA(rank=2, layers="convolution")], ids=["ftn", "lora"]
)
@every_form
def test_channels_last(form: Form, method: object) -> None:
    model = built(method)
    for parameter in model["a"].parameters():
        nn.init.normal_(parameter, std=0.3)
    plain, last = torch.randn(2, 3, 9, 8), None
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model.execution = form
        last = plain.to(memory_format=layout).requires_grad_()
        y = model(last, task="a")
        assert y.is_contiguous(memory_format=layout)
        found.append([y, *torch.autograd.grad(y.square().sum(), [last, *model["a"].parameters()])])
    torch.testing.assert_close(found[0], found[1])


@every_form
def test_a_gradient_of_the_gradient(form: Form) -> None:
    """A penalty on the input's gradient trains the factors as it does through a dense weight."""
    model = built().double().train()
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64, requires_grad=True)
    wanted = list(model["a"].parameters())
    found = []
    for one in (form, "materialised"):
        model.execution = one  # type: ignore[assignment]
        (first,) = torch.autograd.grad(scores(model, x), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), wanted, allow_unused=True))
    assert found[0][0] is not None
    torch.testing.assert_close(found[0], found[1])


@every_form
def test_gradients_of_several_losses_at_once(form: Form) -> None:
    """As TorchJD asks for them."""
    model = built().double()
    model.execution = form
    y = model(torch.randn(3, 3, 7, 7, dtype=torch.float64), task="a").flatten(1)
    wanted, several = list(model["a"].parameters()), torch.randn(4, *y.shape, dtype=torch.float64)
    at_once = torch.autograd.grad(y, wanted, several, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(y, wanted, one, retain_graph=True) for one in several]
    torch.testing.assert_close(at_once, tuple(torch.stack(each) for each in zip(*one_by_one, strict=True)))


@every_form
def test_functional_transforms(form: Form) -> None:
    model = built().double().eval()
    model.execution = form
    x, own = torch.randn(2, 3, 7, 7, dtype=torch.float64), dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,), {"task": "a"}).square().sum()

    found = torch.func.grad(loss)(own)
    loss(own).backward()
    for name, parameter in model["a"].named_parameters():
        torch.testing.assert_close(found[f"tasks.a.{name}"], parameter.grad)


@every_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast(form: Form, dtype: torch.dtype) -> None:
    model = built(stride=2)
    model.execution = form
    x = torch.randn(4, 3, 12, 12)
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        loss = model(x, task="a").float().square().mean()
    found = torch.autograd.grad(loss, list(model["a"].parameters()))
    exact = torch.autograd.grad(model(x, task="a").square().mean(), list(model["a"].parameters()))
    near = {"rtol": 0.1, "atol": 0.02} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(found, exact, **near)


@pytest.mark.parametrize("form", ["factored", "merged"])
def test_keeps_the_input_and_few_channels_for_the_gradient(form: Form) -> None:
    """Neither ΔW, nor a second output, nor anything else as large as they are."""
    network = nn.Sequential(nn.Conv2d(3, 32, 1), nn.Conv2d(32, 64, 3, padding=1))
    model = MultiTask(network, FTN(rank=2, norm=False), execution=form)
    model.add_task("a")
    x = torch.randn(2, 3, 16, 16)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = model(x, task="a")
    extra = sum(count for where, count in kept.items() if where not in weights)
    pixels = prod(y.shape) // 64
    assert extra <= pixels * (32 + 2 * 2), "the input, and R channels before and after the kernel"
    assert y.requires_grad


def test_no_gradient_where_none_is_asked_for() -> None:
    """The first adapted layer sees an input that needs none: nothing is computed below it."""
    model = built()
    model.execution = "merged"
    seen = []
    model.backbone[0].register_full_backward_hook(lambda *_: seen.append(1))
    scores(model, torch.randn(2, 3, 7, 7)).backward()
    assert not seen


def test_forms_by_layer_and_refused_names() -> None:
    model = built()
    x = torch.randn(2, 3, 7, 7)
    plain = model(x, task="a")
    model.execution = {"1": "materialised", "*": "factored"}
    torch.testing.assert_close(model(x, task="a"), plain)
    for wrong, text in (("fast", r"execution='fast' is not known"), ({"1": "fast"}, r"execution\['1'\]='fast'")):
        with pytest.raises(ValueError, match=text):
            model.execution = wrong  # type: ignore[assignment]
    with pytest.raises(ValueError, match="choose one of auto, factored, merged, materialised"):
        MultiTask(nn.Linear(2, 2), execution="dense")  # type: ignore[arg-type]


@pytest.mark.parametrize("kernel", [4, 5, 7, 9])
def test_wide_depthwise_layers_on_maps_of_all_sizes(kernel: int) -> None:
    """Down to those that some columns of the kernel never meet."""
    torch.manual_seed(0)
    met = 0
    for width, stride, padding in itertools.product(range(1, 10), (1, 2, 3), range(kernel)):
        if width + 2 * padding < kernel:
            continue
        layer = nn.Conv2d(3, 3, kernel, stride, padding, groups=3, bias=False, dtype=torch.float64)
        x = torch.randn(2, 3, width, width, dtype=torch.float64)
        y = layer(x)
        (wanted,) = torch.autograd.grad(y, layer.weight, gy := torch.randn_like(y))
        walk = Geometry.of(layer)
        assert walk
        for way in (_depthwise._by_pairs, _depthwise._by_columns):
            torch.testing.assert_close(way(walk, gy, x, layer.weight), wanted)
        met += 1
    assert met > 50


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(12, 11), (8, 7)])
def test_wide_depthwise_layers_are_torch_s_own(
    monkeypatch: pytest.MonkeyPatch, bias: bool, training: bool, size: tuple[int, int]
) -> None:
    """Gradients of gradients, of several losses at once, and under torch.func; what is asked for and nothing else."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4, bias=bias), nn.BatchNorm2d(4)]
    model = MultiTask(nn.Sequential(*layers), FTN(rank=2, init="normal")).double().train(training)
    model.add_task("a")
    model.double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    wanted = list(model["a"].parameters())
    steps: list[int] = []
    step = _depthwise.weight_gradient
    monkeypatch.setattr(_depthwise, "weight_gradient", lambda *args: steps.append(1) or step(*args))

    def found() -> list[Tensor]:
        y = model(x, task="a").flatten(1)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        penalty = torch.autograd.grad(first.square().sum(), wanted, retain_graph=True, allow_unused=True)
        several = torch.stack([torch.full_like(y, n).cos() for n in range(3)])
        at_once = torch.autograd.grad(y, wanted, several, is_grads_batched=True, retain_graph=True)
        plain = torch.autograd.grad((y * y.detach().cos()).sum(), [x, *wanted])
        return [tensor for tensor in (*penalty, *at_once, *plain) if tensor is not None]

    ours = found()
    assert steps
    monkeypatch.setattr(_convolution, "is_wide", lambda *_: False)
    torch.testing.assert_close(ours, found())

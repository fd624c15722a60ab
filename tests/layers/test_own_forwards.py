"""Layers with a forward of their own: each row gets the output of the plain network with its task's weights."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import taskfold as tfold
from taskfold.kinds import kind_of
from taskfold.methods import Method

D = 6
NAMES = list("abca")


class Masked(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("mask", torch.ones(sizes[1], sizes[0]).tril())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Clamped(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp(-0.5, 0.5))


class Gained(nn.Linear):
    """Plain until somebody sets the gain."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("gain", torch.ones(()))
        self.narrow = False

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp(-0.2, 0.2) if self.narrow else x) * self.gain


class ScaledConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.2


class PixelNorm(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-8))


class Symmetric(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight + self.weight.flip(-1), self.bias)


class ScaledTransposed(nn.ConvTranspose2d):
    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x, output_size) * 3


class ScaledEmbedding(nn.Embedding):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 4


class CrossNorm(nn.BatchNorm2d):
    """Not one channel at a time."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * y.mean(1, keepdim=True)


class Doubled(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class Padded(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1)))


def told(net: nn.Module, method: Method) -> tfold.MultiTask:
    model = tfold.MultiTask(net.eval(), method, num_features=D)
    for n, name in enumerate("abc"):
        model.add_task(name)
        for tensor in model[name].parameters():
            with torch.no_grad():
                tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(n)) / 3)
    return model.eval()


def plain(model: tfold.MultiTask, name: str) -> nn.Module:
    """The network with the task's weights written in."""
    made = copy.deepcopy(model.backbone)
    made.load_state_dict({**made.state_dict(), **model.materialise(name)})
    return made.eval()


def check(model: tfold.MultiTask, x: Tensor, folds: bool = True) -> None:
    with torch.no_grad():
        nets = {name: plain(model, name) for name in "abc"}
        alone = torch.cat([nets[name](x[n : n + 1]) for n, name in enumerate(NAMES)])
        close = {"rtol": 1e-4, "atol": 1e-4}
        assert not torch.allclose(nets["a"](x), nets["b"](x), **close)
        torch.testing.assert_close(model(x, task="b"), nets["b"](x), **close)
        torch.testing.assert_close(model(x, task=NAMES), alone, **close)
        torch.testing.assert_close(model.bank()(x, task=NAMES), alone, **close)
        for name, found in model(x, task=["a", "b"], broadcast=True).items():
            torch.testing.assert_close(found, nets[name](x), **close)
        for execution in ("factored", "merged", "materialised"):
            model.execution = execution
            torch.testing.assert_close(model(x, task="b"), nets["b"](x), **close)
        model.execution = "auto"
        if folds:
            torch.testing.assert_close(model.fold("c")(x), nets["c"](x), **close)


METHODS: dict[str, Callable[[], Method]] = {
    "lora": lambda: tfold.LoRA(rank=2, layers="all"),
    "ftn": lambda: tfold.FTN(rank=2, norm=False),
    "fine-tuning": tfold.FineTuning,
    "bitfit": tfold.BitFit,
}
LINEAR = (Masked, Scaled, Clamped, Gained)
CONVOLUTIONS = (ScaledConv, PixelNorm, Symmetric, ScaledTransposed, Padded)


@pytest.mark.parametrize("method", ["lora", "fine-tuning", "bitfit"])
@pytest.mark.parametrize("layer", LINEAR)
def test_linear_layers(layer: type[nn.Linear], method: str) -> None:
    torch.manual_seed(0)
    check(told(nn.Sequential(nn.Linear(D, D), layer(D, D)), METHODS[method]()), torch.randn(4, D))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_convolutions(layer: Callable[..., nn.Module], method: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), layer(4, 4, 3), nn.Flatten())
    check(told(net, METHODS[method]()), torch.randn(4, 3, 7, 7))


@pytest.mark.parametrize("method", ["lora", "fine-tuning"])
def test_embedding(method: str) -> None:
    torch.manual_seed(0)
    made = tfold.LoRA(rank=2, layers="embedding") if method == "lora" else tfold.FineTuning()
    check(told(nn.Sequential(ScaledEmbedding(9, D), nn.Flatten()), made), torch.randint(9, (4, 3)))


@pytest.mark.parametrize("norm", [lambda: CrossNorm(4), lambda: nn.Sequential(nn.Flatten(), Doubled(100))])
def test_norms(norm: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm(), nn.Flatten())
    check(told(net, tfold.FineTuning()), torch.randn(4, 3, 7, 7), folds=False)


@pytest.mark.parametrize("method", ["lora", "fine-tuning"])
def test_what_a_layer_has_beside_its_weight_may_change(method: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(D, D), Gained(D, D))
    model, x = told(net, METHODS[method]()), torch.randn(4, D)
    model(x, task=NAMES)
    net[1].gain.fill_(3.0)
    check(model, x)
    net[1].narrow = True
    check(model, x)


def test_a_layer_exchanged_for_one_with_a_forward_of_its_own() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(D, D), nn.Linear(D, D))
    model, x = told(net, METHODS["lora"]()), torch.randn(4, D)
    model(x, task=NAMES)
    net[1] = Clamped(D, D)
    check(model, x)


@pytest.mark.parametrize("shift", [True, False])
def test_a_scale_goes_into_weight_and_bias_or_is_refused(shift: bool) -> None:
    torch.manual_seed(0)
    kind = kind_of(Scaled(D, D))
    inside, scale = kind.tensors(), torch.rand(D) + 0.5
    if shift:
        with pytest.raises(ValueError, match="forward of its own"):
            kind.scaled(inside, scale, torch.ones(D))
        return
    x = torch.randn(4, D)
    found = kind.run((x,), {}, kind.scaled(inside, scale, None))
    torch.testing.assert_close(found, kind.plain(x) * scale)


@pytest.mark.parametrize("layer", [Padded(4, 4, 3), ScaledConv(4, 4, 3)])
def test_layers_that_are_plain_enough_keep_updates_beside_them(layer: nn.Conv2d) -> None:
    assert kind_of(layer).additive  # type: ignore[attr-defined]


def test_a_trial_leaves_nothing_behind() -> None:
    class Counted(nn.Linear):
        def __init__(self) -> None:
            super().__init__(D, D)
            self.calls: list[int] = []
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.append(len(x))
            self.seen += 1
            random.random()
            torch.rand(())
            return super().forward(x)

    layer = Counted()
    states = torch.get_rng_state(), random.getstate()
    kind = kind_of(layer)
    assert kind.additive  # type: ignore[attr-defined]
    assert kind.rowwise  # type: ignore[attr-defined]
    assert not layer.calls
    assert not layer.seen
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_more_than_an_input_goes_with_whole_weights() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 3, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(x, output_size=[12, 12])

    torch.manual_seed(0)
    check(told(Net(), tfold.FTN(rank=2, norm=False, stem=True)), torch.randn(4, 3, 5, 5))
    check(told(Net(), tfold.FineTuning()), torch.randn(4, 3, 5, 5))

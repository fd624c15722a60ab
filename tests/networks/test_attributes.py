"""Settings and classes of the user's modules take effect at once, wherever the user keeps the modules."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskfold as tfold
from taskfold import MultiTask

X = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def made(*middle: nn.Module, method: Any = None) -> MultiTask:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), *middle, nn.Conv2d(4, 4, 1), nn.Flatten())
    model = MultiTask(net, method or tfold.LoRA(rank=2, layers="convolution")).eval()
    for name in ("a", "b"):
        for parameter in model.add_task(name).parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def plain(model: MultiTask, name: str) -> nn.Module:
    """The network that is held, with the task's weights written in."""
    network = copy.deepcopy(model.backbone)
    for key, tensor in model.materialise(name).items():
        network.state_dict()[key].copy_(tensor)
    return network.eval()


def agrees(model: MultiTask, *banks: nn.Module, x: Tensor = X) -> dict[str, Tensor]:
    wanted = {name: plain(model, name)(x) for name in ("a", "b")}
    for one in (model, *banks):
        for n, row in enumerate(one(x, task=["a", "b", "b", "a"])):
            torch.testing.assert_close(row, wanted["abba"[n]][n])
        torch.testing.assert_close(one(x, task=["a", "b"], broadcast=True), wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(model(x, task=name), value)
        torch.testing.assert_close(model.fold(name)(x), value)
    return wanted


SETTINGS: list[tuple[nn.Module, dict[str, Any]]] = [
    (nn.LeakyReLU(0.1), {"negative_slope": 0.9}),
    (nn.MaxPool2d(2), {"kernel_size": 3}),
    (nn.MaxPool2d((2, 2)), {"kernel_size": 3}),
    (nn.LayerNorm(7), {"eps": 1.0}),
    (nn.BatchNorm2d(4), {"eps": 1.0}),
    (nn.GroupNorm(2, 4), {"num_groups": 4}),
    (nn.Softmax(1), {"dim": 2}),
    (nn.GELU(), {"approximate": "tanh"}),
    (nn.Upsample(scale_factor=2.0), {"scale_factor": None, "size": 5}),
    (nn.AdaptiveAvgPool2d(2), {"output_size": (3, 1)}),
    (nn.Hardtanh(), {"max_val": 0.2}),
    (nn.Conv2d(4, 4, 3, padding=1), {"padding": 0}),
    (nn.Threshold(0.1, 0), {"value": 3}),
]


@pytest.mark.parametrize(("layer", "settings"), SETTINGS, ids=lambda one: type(one).__name__)
def test_settings_of_torch_s_own_modules(layer: nn.Module, settings: dict[str, Any]) -> None:
    model = made(copy.deepcopy(layer))
    bank = model.bank()
    before = agrees(model, bank)
    for name, value in settings.items():
        setattr(model.backbone[1], name, value)  # type: ignore[index]
    after = agrees(model, bank)
    assert not any(torch.equal(after[name], before[name]) for name in before)


def test_a_norm_of_the_task_s_own() -> None:
    model = made(nn.BatchNorm2d(4), nn.Dropout(0.1), method=tfold.HeadNorm())
    agrees(model, bank := model.bank())
    model.backbone[1].eps = 1.0  # type: ignore[index]
    agrees(model, bank)


@pytest.mark.parametrize("p", [0, 0.0])
def test_dropout_is_switched_off(p: float) -> None:
    model = made(nn.Dropout(0.5)).train()
    assert not torch.equal(model(X, task="a"), model(X, task="a"))
    model.backbone[1].p = p  # type: ignore[index]
    assert torch.equal(model(X, task="a"), model(X, task="a"))
    model.backbone[1].p = 0.5  # type: ignore[index]
    assert not torch.equal(model(X, task="a"), model(X, task="a"))


def test_a_schedule_of_a_share_looks_for_no_rows_again() -> None:
    model = made(nn.LeakyReLU(0.1))
    agrees(model)
    forms, skeletons = dict(model._runner.forms), model._runner.skeletons
    for slope in (0.2, 0.3, 1):
        model.backbone[1].negative_slope = slope  # type: ignore[index]
        agrees(model)
    assert model._runner.forms == forms
    assert model._runner.skeletons is skeletons
    model.backbone[1].inplace = True  # type: ignore[index]
    agrees(model)
    assert model._runner.skeletons is not skeletons


def test_a_transformer_s_fused_path_stays_off() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True), nn.Flatten())
    model = MultiTask(net, tfold.LoRA(rank=2, layers="linear", init="normal")).eval()
    for name in ("a", "b"):
        model.add_task(name)
    x = torch.randn(4, 3, 8)
    agrees(model, x=x)
    net[0].activation_relu_or_gelu = 2  # type: ignore[assignment]
    net[0].norm1.eps = 1.0  # type: ignore[union-attr]
    agrees(model, x=x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.k = nn.Conv2d(4, 4, 1), 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).tanh() * self.k


class Another(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * 10


class Reversed(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).flip(3)


def test_another_class() -> None:
    model = made(Block())
    before = agrees(model, bank := model.bank())
    model.backbone[1].__class__ = Another  # type: ignore[index]
    after = agrees(model, bank)
    assert not torch.equal(after["a"], before["a"])
    model.backbone[0].__class__ = Reversed  # type: ignore[index]
    assert not torch.equal(agrees(model, bank)["a"], after["a"])


def test_an_attribute_of_a_class_hides_no_module_s() -> None:
    class Mine(Block):
        counted, shift = 0, 0.0

        def forward(self, x: Tensor) -> Tensor:
            Mine.counted += 1
            return super().forward(x) + type(self).counted.bit_length() * type(self).shift

    model = made(Mine())
    before = agrees(model, bank := model.bank())
    skeletons = model._runner.skeletons
    Mine.k = 100.0  # type: ignore[attr-defined]
    assert torch.equal(agrees(model, bank)["a"], before["a"])
    model.backbone[1].k = 3.0  # type: ignore[index]
    assert not torch.equal(agrees(model, bank)["a"], before["a"])
    agrees(made(Mine()))
    assert model._runner.skeletons is not skeletons
    skeletons = model._runner.skeletons
    agrees(model, bank)
    assert model._runner.skeletons is skeletons, "a counter is no change"


def test_values_of_a_class_are_read_of_it_while_a_compiler_traces() -> None:
    class Mine(Block):
        k, shift = 3.0, 2.0

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + type(self).shift

    model = made(Mine())
    wanted = agrees(model)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(X, task="a"), wanted["a"])
    model.backbone[1].k = 5.0  # type: ignore[index]
    torch.testing.assert_close(compiled(X, task="a"), plain(model, "a")(X))


def test_one_module_in_two_places_later_is_refused_by_name() -> None:
    model = made(Block(), Block())
    before, bank, kept = agrees(model), model.bank(), model.backbone[2]  # type: ignore[index]
    model.backbone[2] = model.backbone[1]  # type: ignore[index]
    for _ in range(2):
        for ask in (
            lambda: model(X, task="a"),
            lambda: model(X, task=["a", "b", "b", "a"]),
            lambda: model(X, task=["a", "b"], broadcast=True),
            lambda: bank(X, task=["a", "b", "b", "a"]),
            lambda: model.fold("a"),
        ):
            with pytest.raises(ValueError, match=r"layer '[12].layer' is one module in several places .*\(1.layer, 2"):
                ask()
    model.backbone[2] = kept  # type: ignore[index]
    torch.testing.assert_close(agrees(model, bank), before)


METHODS: list[Callable[[], Any]] = [lambda: tfold.LoRA(rank=2, layers="convolution"), tfold.FineTuning, tfold.HeadNorm]


@pytest.mark.parametrize("method", METHODS, ids=["lora", "fine-tuning", "head-norm"])
@pytest.mark.parametrize("came", [True, False])
def test_pieces_that_are_frozen_each_epoch_stay_frozen(method: Callable[[], Any], came: bool) -> None:
    """As `model.train()` and then `.eval()` of each does it; the network's own modes are the user's alone."""
    model = made(nn.BatchNorm2d(4), nn.Dropout(0.5), method=method())
    net: Any = model.backbone.train(came)
    if not came:  # as Hugging Face's networks come
        net.train()
    wanted = {name: plain(model, name)(X) for name in ("a", "b")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(3):
            model.train()
            for module in net.modules():
                if isinstance(module, (nn.BatchNorm2d, nn.Dropout)):
                    module.eval()
            kept = {key: buffer.clone() for key, buffer in model["a"].named_buffers()}
            for view in (model, model.for_task("a").train()):
                found = view(X, task="a") if view is model else view(X)
                torch.testing.assert_close(found, wanted["a"])
            for n, row in enumerate(model(X, task=["a", "b", "b", "a"])):
                torch.testing.assert_close(row, wanted["abba"[n]][n])
            torch.testing.assert_close(model(X, task=["a", "b"], broadcast=True), wanted)
            assert all(torch.equal(buffer, kept[key]) for key, buffer in model["a"].named_buffers())
            model(X, task="a").square().sum().backward()
            assert all(one.grad is not None for one in model["a"].parameters())
            assert [module.training for module in net] == [True, False, False, True, True]
            model.eval()
            agrees(model)
    net.train()
    model.train()
    assert not torch.equal(model(X, task="a"), model(X, task="a"))


def test_who_freezes_pieces_is_told_once_that_they_stay_so() -> None:
    model = made(nn.Dropout(0.5)).train()
    model.backbone[1].eval()  # type: ignore[index]
    model(X, task="a")
    with pytest.warns(UserWarning, match=r"stay there while the model trains: 1; model.backbone.train\(\)"):
        model.train()
    assert torch.equal(model(X, task="a"), model(X, task="a"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.eval().train()
    model.backbone.train()
    model.train()
    assert not torch.equal(model(X, task="a"), model(X, task="a"))


def test_a_network_that_evaluates_as_a_whole_says_nothing_of_its_pieces() -> None:
    model = made(nn.Dropout(0.5)).train()
    model.backbone.eval()
    model.train()
    assert not torch.equal(model(X, task="a"), model(X, task="a"))
    model.backbone[1] = nn.Dropout(0.5)  # type: ignore[index]
    model.backbone[1].eval()  # type: ignore[index]
    model.backbone[1] = nn.ReLU()  # type: ignore[index]
    model.train()
    model(X, task="a")


class Merged(nn.Module):
    """Is one layer in evaluation, as re-parametrised blocks are."""

    def __init__(self, way: str = "tensor") -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, bias=False)
        self.way, self.whole = way, None
        self.weight: Tensor | None = None

    def train(self, mode: bool = True) -> Merged:
        super().train(mode)
        if self.way == "flags":
            self.first.weight.requires_grad = False
            self.second.weight.requires_grad_(False)
            self.mask = torch.ones(4)
        elif self.way == "tensor":
            self.weight = None if mode else (self.first.weight + self.second.weight).detach()
        elif self.way == "parameters":
            self.weight = None if mode else torch.stack([one for one in self.parameters() if one.dim() == 4]).sum(0)
        elif not mode:
            self.whole = nn.Conv2d(4, 4, 1)
            self.whole.weight.data = self.first.weight + self.second.weight
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is not None:
            return nn.functional.conv2d(x, self.weight, self.first.bias)
        return self.first(x) + self.second(x)


@pytest.mark.parametrize("way", ["tensor", "parameters", "module"])
def test_branches_that_are_merged_by_train_are_refused_by_name(way: str) -> None:
    with pytest.raises(TypeError, match=r"module '1' \(Merged\) makes '(weight|whole)' of tensors of layer '1.first'"):
        made(Merged(way))
    alone = tfold.LoRA(rank=2, layers="convolution", targets=("*", "!1.*"))
    agrees(made(Merged(way), method=alone))


def test_train_of_the_user_s_that_sets_flags_is_welcome() -> None:
    agrees(made(Merged("flags")))

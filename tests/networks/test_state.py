"""State that modules keep, compute and write: separate for each task, or refused by name."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torchvision.models import SwinTransformer

import taskfold as tfold
from taskfold import MultiTask


def moved(model: MultiTask, *names: str, by: float = 1.0) -> MultiTask:
    torch.manual_seed(0)
    for name in names:
        for parameter in model.add_task(name).parameters():
            parameter.data += by * torch.randn_like(parameter)
    return model.eval()


class Biased(nn.Module):
    """Adds a bias that it keeps while it evaluates, in one of the ways that people do."""

    num_features = 4

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.biases = way, nn.Parameter(torch.randn(2))
        self.cache: dict[str, Tensor] = {}
        self.table: Tensor | None = None

    def train(self, mode: bool = True) -> Biased:
        super().train(mode)
        if self.way == "mode":
            if mode:
                vars(self).pop("ab", None)
            else:
                self.ab = self.made()
        return self

    def made(self) -> Tensor:
        return self.biases.repeat(2)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x + self.made()
        if self.way == "mode":
            return x + self.ab
        if self.way == "dict":
            if "cpu" not in self.cache:
                self.cache["cpu"] = self.made()
            return x + self.cache["cpu"]
        if self.table is None:
            self.table = self.made()
        return x + self.table


@pytest.mark.parametrize("ran", ["before", "between", "never"])
@pytest.mark.parametrize("way", ["dict", "table", "mode"])
@torch.no_grad()
def test_a_cache_is_each_task_s_own(way: str, ran: str) -> None:
    net, x = nn.Sequential(Biased(way)).eval(), torch.randn(2, 4)
    if ran == "before" and way != "table":  # what holds numbers already is no cache that one could tell
        net(x)
    model = moved(MultiTask(net, tfold.FineTuning(), num_features=4), "a", "b")
    for name in "abab":
        biases = next(model[name].parameters())
        torch.testing.assert_close(model(x, task=name), x + biases.repeat(2))
        torch.testing.assert_close(model.fold(name).eval()(x), x + biases.repeat(2))
        if ran == "between":
            torch.testing.assert_close(net(x), x + net[0].biases.repeat(2))  # type: ignore[operator]


@pytest.mark.parametrize("name", ["levit_128s", "efficientformer_l1"])
@torch.no_grad()
def test_networks_that_keep_attention_biases(name: str) -> None:
    net = timm.create_model(name, num_classes=0).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.enable_grad():
        net(x)  # leaves tensors with a graph behind
    model = MultiTask(net, tfold.FineTuning()).eval()
    for task in ("one", "two"):
        for key, parameter in model.add_task(task).named_parameters():
            if "attention_biases" in key:
                parameter.data += 2 * torch.randn_like(parameter)
    one, two = model(x, task="one"), model(x, task="two")
    assert not torch.equal(one, two)
    torch.testing.assert_close(model.fold("two").eval()(x), two)


class Codebook(nn.Module):
    """Moves with the data while it trains."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.codes = way, nn.Embedding(6, 8)
        self.register_buffer("mean", self.codes.weight.detach().clone())
        self.passes = 0

    def forward(self, z: Tensor) -> Tensor:
        self.passes += 1
        if self.training and (self.way != "later" or self.passes > 2):
            with torch.no_grad():
                if self.way == "replaces":
                    self.mean = 0.9 * self.mean + 0.1 * z.mean(0)
                elif self.way == "parameter":
                    self.codes.weight.mul_(0.9)
                else:
                    self.mean.mul_(0.9)
        return z + (self.codes(torch.cdist(z, self.codes.weight).argmin(-1)) - z).detach()


@pytest.mark.parametrize("way", ["buffer", "parameter", "replaces", "later"])
def test_what_writes_in_training_is_refused_by_name(way: str) -> None:
    net = nn.Sequential(nn.Linear(5, 8), Codebook(way), nn.Linear(8, 8))
    model = MultiTask(net, tfold.LoRA(rank=2, layers="linear"), num_features=8)
    model.add_task("a", head=3)
    x, kept = torch.randn(16, 5), copy.deepcopy(net.state_dict())
    before = model.eval()(x, task="a")
    model.train()
    if way == "later":
        model(x, task="a")
    with pytest.raises(RuntimeError, match=r"layer '1(.codes)?' \(\w+\) writes the backbone's tensor"):
        model(x, task="a")
    if way != "later":
        assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())
        assert torch.equal(model.eval()(x, task="a"), before)
        model.train()
        net[1].eval()  # the remedy
        model(x, task="a").sum().backward()


def test_what_writes_in_evaluation_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"layer '0' \(Embedding, max_norm=0.5\) shortens rows"):
        MultiTask(nn.Sequential(nn.Embedding(9, 5, max_norm=0.5)), tfold.HeadOnly())
    from torch.ao.quantization import MinMaxObserver

    net = nn.Sequential(nn.Linear(5, 8), MinMaxObserver(), nn.Linear(8, 8))
    model = MultiTask(net, tfold.LoRA(rank=2, layers="linear"), num_features=8).eval()
    model.add_task("a")
    with pytest.raises(RuntimeError, match=r"layer '1' .* writes .* in evaluation mode"):
        model(torch.randn(2, 5), task="a")


@pytest.mark.parametrize("way", ["parametrised", "old"])
def test_power_iterations_are_not_the_tasks_business(way: str) -> None:
    normed: Any = nn.utils.parametrizations.spectral_norm if way == "parametrised" else nn.utils.spectral_norm
    net = nn.Sequential(nn.Linear(5, 8), normed(nn.Linear(8, 8)), nn.Linear(8, 8))
    model = MultiTask(net, tfold.HeadOnly(), num_features=8).train()
    model.add_task("a", head=3)
    kept = copy.deepcopy(net.state_dict())
    model(torch.randn(4, 5), task="a").sum().backward()
    assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())


@pytest.mark.filterwarnings("ignore:task '.'. the backbone's own classifier 'head'")
@pytest.mark.parametrize("method", [tfold.LoRA(rank=2), tfold.FTNQueryValue(rank=2), tfold.FineTuning()])
def test_a_weight_that_is_read_is_the_task_s(method: Any) -> None:
    torch.manual_seed(0)
    net = SwinTransformer([4, 4], 24, [1, 1], [2, 2], [4, 4], num_classes=8).eval()
    model, x = moved(MultiTask(net, method), "a", "b", by=0.05), torch.randn(2, 3, 64, 64)
    y = model(x, task="a")
    torch.testing.assert_close(y, model.fold("a")(x))
    assert not torch.allclose(y, net(x), atol=1e-5)
    y.sum().backward()
    assert all(p.grad is not None for key, p in model["a"].named_parameters() if "qkv" in key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where attention reads, tasks run one after another
        mixed = model(x, task=["a", "b"])
    for n, name in enumerate("ab"):
        torch.testing.assert_close(mixed[n], model(x, task=name)[n])


def test_a_type_that_is_read_is_no_weight() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            weight = self.inner.weight
            return self.inner(x.to(weight.dtype).to(weight.device)[:, : weight.shape[1]])

    model, x = (
        moved(MultiTask(Asks(), tfold.LoRA(rank=2, layers="linear"), num_features=4), "a", "b"),
        torch.randn(2, 4),
    )
    mixed = model(x, task=["a", "b"])
    for n, name in enumerate("ab"):
        torch.testing.assert_close(mixed[n], model(x, task=name)[n])


def custom(layer: nn.Linear) -> nn.Linear:
    layer.register_parameter("raw", nn.Parameter(layer.weight.detach().clone()))
    del layer._parameters["weight"]
    layer.register_forward_pre_hook(lambda m, _: setattr(m, "weight", m.raw.abs()))  # type: ignore[operator]
    return layer


def pruned(layer: nn.Linear) -> nn.Linear:
    return prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize("computed", [pruned, nn.utils.weight_norm, custom])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_that_a_hook_computes_is_of_the_task_s_tensors(computed: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), computed(nn.Linear(8, 8))).requires_grad_(False)
    x = torch.randn(4, 5)
    plain = net(x)
    model = MultiTask(net, tfold.FineTuning(), num_features=8).eval()
    model.add_task("b")
    task = model.add_task("a")
    for key, parameter in task.named_parameters():
        if key.endswith(("orig", "weight_g", "raw")):
            parameter.data *= 2
    y = model(x, task="a")
    assert not torch.allclose(y, plain)
    torch.testing.assert_close(y, model.fold("a")(x))
    torch.testing.assert_close(model(x, task="b"), plain)
    torch.testing.assert_close(net(x), plain)
    model.train()(x, task="a").sum().backward()
    assert all(parameter.grad is not None for parameter in task.parameters())


@pytest.mark.filterwarnings("ignore:.*use_reentrant")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("task", ["a", "aabb"])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_layers_that_timm_computes_again_have_the_same_tasks(name: str, task: str, reentrant: bool) -> None:
    size: dict[str, Any] = {"img_size": 32, "depth": 2} if name.startswith("vit") else {}
    torch.manual_seed(0)
    network: Any = timm.create_model(name, num_classes=0, **size).double()
    model = tfold.MultiTask(network, tfold.LoRA(rank=2, layers="all", norm=True)).train()
    for one in "ab":
        for parameter in model.add_task(one, 3).parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    x = torch.randn(4, 3, 32, 32).double().requires_grad_()
    before, found = copy.deepcopy(model.state_dict()), []
    for switched in (False, True):
        model.load_state_dict(before)
        network.set_grad_checkpointing(switched)
        timm.layers.set_reentrant_ckpt(reentrant)
        try:
            model.zero_grad()
            made = model(x, task=[*task] if len(task) > 1 else task)
            (torch.stack(list(made)) * torch.arange(12.0).reshape(4, 3)).sum().backward()
        finally:
            timm.layers.set_reentrant_ckpt(False)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append([*(one.clone() for one in gradients), *(b.clone() for b in model.tasks.buffers())])
    assert len(found[0]) == len(found[1]) > 20
    torch.testing.assert_close(found[0], found[1])
    assert torch.utils.checkpoint.checkpoint.__module__ == "torch.utils.checkpoint"

"""Users' changes to their network take effect in the model."""

from __future__ import annotations

import copy
import functools
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import taskfold as tfold
from taskfold import MultiTask

X = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def stirred(net: nn.Module, method: Any = None, *names: str) -> MultiTask:
    model = MultiTask(net, method or tfold.FTN(rank=2, norm=False), num_features=8).eval()
    for name in names or ("a",):
        for parameter in model.add_task(name, head=3).parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def folds(model: MultiTask, x: Tensor = X) -> None:
    torch.testing.assert_close(model(x, task="a"), model.fold("a").eval()(x))


def test_tensors_that_are_assigned() -> None:
    model = stirred(convolutions())
    before = model(X, task="a")
    model.load_state_dict({key: value * 1.5 for key, value in model.state_dict().items()}, assign=True)
    assert not torch.allclose(model(X, task="a"), before)
    folds(model)


@pytest.mark.parametrize("way", ["fresh", "steering", "cleared", "replaced"])
def test_hooks_come_and_go(way: str) -> None:
    net = convolutions()
    model = stirred(net)
    plain = model(X, task="a")
    seen: list[int] = []
    if way == "fresh":
        for n in range(3):
            handle = net[2].register_forward_hook(lambda *_: seen.append(1))
            model(X, task="a")
            handle.remove()
            assert len(seen) == n + 1
        return
    net[2].register_forward_hook(lambda m, i, o: torch.zeros_like(o))  # type: ignore[arg-type]
    assert not torch.equal(model(X, task="a"), plain)
    if way == "replaced":
        net[2]._forward_hooks = type(net[2]._forward_hooks)()
    else:
        net[2]._forward_hooks.clear()
    assert torch.equal(model(X, task="a"), plain)
    net[2].register_forward_hook(lambda *_: seen.append(1))
    assert torch.equal(model(X, task="a"), plain)
    assert seen == [1]


def test_hooks_are_bound_to_the_user_s_objects() -> None:
    net, seen, store = convolutions(), [], {}
    net[0].register_forward_hook(functools.partial(lambda where, m, i, o: where.append(o), seen))
    net[2].register_forward_hook(lambda m, i, o: store.update({m: o}))
    model = stirred(net)
    model(X, task="a")
    assert len(seen) == 1
    assert net[2] in store, "kept by module, it is found by the user's"


def test_backward_hooks_fire() -> None:
    net, fired = convolutions(), []
    model = stirred(net)
    net[2].register_full_backward_hook(lambda *_: fired.append(1))
    model(X.clone().requires_grad_(), task="a").sum().backward()
    assert fired == [1]


class Routed(nn.Module):
    """Leaves a loss, and a map, on itself."""

    num_features = 8
    scale = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.l, self.aux, self.maps = nn.Linear(5, 8), None, {}

    def forward(self, x: Tensor) -> Tensor:
        y = self.l(x) * self.scale
        self.aux = y.softmax(-1).mean(0).square().sum()
        self.maps["last"] = y
        return y


def test_what_layers_leave_on_themselves_is_found_there() -> None:
    net = Routed()
    model = stirred(net, tfold.LoRA(rank=2, layers="linear")).train()
    for _ in range(2):
        model(torch.randn(4, 5), task="a")
        assert net.aux is not None
        assert net.aux.requires_grad
        assert "last" in net.maps
    copied = pickle.loads(pickle.dumps(copy.deepcopy(model).eval()))
    x = torch.randn(4, 5)
    torch.testing.assert_close(copied(x, task="a"), model.eval()(x, task="a"))
    folds(model, x)


def test_an_instance_s_setting_hides_its_class_s() -> None:
    net, x = Routed(), torch.randn(4, 5)
    model = stirred(net, tfold.LoRA(rank=2, layers="linear"))
    model(x, task="a")
    net.scale = 3.0
    folds(model, x)


@pytest.mark.parametrize("tasks", ["one", "mixed"])
def test_layers_that_are_exchanged(tasks: str) -> None:
    net = convolutions()
    model = stirred(net)
    before = model(X, task="a")
    net[1] = nn.Tanh()
    assert not torch.allclose(model(X, task="a"), before)
    net[2] = nn.Conv2d(8, 8, 3).requires_grad_(False)
    folds(model)
    if tasks == "mixed":
        model.add_task("b", head=3)
        for n, row in enumerate(model(X, task=["a", "b"])):
            torch.testing.assert_close(row, model(X, task="ab"[n])[n])


def test_a_cast_of_the_network_alone_is_served() -> None:
    net = convolutions()
    model = MultiTask(net, tfold.FTN(rank=2, norm=False), num_features=8).eval()
    model.add_task("a")
    net.double()
    assert model(X.double(), task="a").dtype == torch.float64
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = MultiTask(net, tfold.FTN(rank=2, stem=True), num_features=8).eval()
    model.add_task("a")
    net.double()
    assert model(X.double(), task="a").dtype == torch.float64


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


def by_weak_reference(block: Any) -> None:
    block.forward = functools.partial(lambda own, ref, *a: own(ref(), *a), Block.forward, weakref.ref(block))


def by_closure(block: Any) -> None:
    old = block.forward
    block.forward = lambda x: old(x) + 1


def by_method(block: Any) -> None:
    block.old = block.forward
    block.forward = functools.partial(lambda module, x: module.old(x) * 2, block)


class Wrapper:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, x: Tensor) -> Tensor:
        return Block.forward(self.inner, x)


def by_object(block: Any) -> None:
    block.forward = Wrapper(block)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("patch", [by_weak_reference, by_closure, by_method, by_object])
def test_forwards_patched_onto_instances(patch: Callable[[Any], None], when: str) -> None:
    """The layers inside are the tasks' ones; nothing is written."""
    torch.manual_seed(0)
    block, plain = Block(), Block()
    plain.load_state_dict(block.state_dict())
    net = nn.Sequential(nn.Conv2d(3, 8, 3), block, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    kept = copy.deepcopy(net.state_dict())
    if when == "before":
        patch(block)
    model = stirred(net, tfold.FTN(rank=2))
    if when == "after":
        model(X, task="a")
        patch(block)
    unpatched = nn.Sequential(net[0], plain, *net[2:])
    other = MultiTask(unpatched, tfold.FTN(rank=2), num_features=8).eval()
    other.add_task("a", head=3).load_state_dict(model["a"].state_dict())
    patch(plain)
    torch.testing.assert_close(model(X, task="a"), other(X, task="a"))
    assert not torch.allclose(model(X, task="a"), model["a"].head(net.eval()(X)))  # type: ignore[misc]
    assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())


def test_functional_calls() -> None:
    model = stirred(convolutions())
    state = {key: value * 2 for key, value in model.state_dict().items() if key.startswith("backbone.")}
    wanted = copy.deepcopy(model)
    wanted.load_state_dict({**model.state_dict(), **state})
    torch.testing.assert_close(torch.func.functional_call(model, state, (X,), {"task": "a"}), wanted(X, task="a"))


def test_settings_of_a_language_model_act_when_they_change() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    net = LlamaForCausalLM(LlamaConfig(**config, num_attention_heads=4, **ends)).eval()
    model = MultiTask(net, tfold.LoRA(rank=2)).eval()
    model.add_task("a")
    ids = torch.randint(3, 60, (2, 8))
    net.generation_config.max_new_tokens, net.generation_config.eos_token_id = 3, None
    assert model.generate(input_ids=ids, task="a").shape == net.generate(input_ids=ids).shape == (2, 11)
    assert model(input_ids=ids, task="a").hidden_states is None
    net.config.output_hidden_states = True
    assert len(model(input_ids=ids, task="a").hidden_states) == 3


@pytest.mark.filterwarnings("ignore")  # torch's own, of a process group of one
@pytest.mark.parametrize("sharded", ["layer", "backbone", "model"])
def test_a_network_in_shards_answers_as_before(tmp_path: Path, sharded: str) -> None:
    """FSDP gathers tensors in hooks of its own, which take keywords."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
    model = tfold.MultiTask(network, tfold.LoRA(rank=2, layers="linear", init="normal"), num_features=5).eval()
    for name in "ab":
        model.add_task(name, 3)
    x, names = torch.randn(4, 6), list("abba")
    wanted = torch.stack(list(model(x, task=names)))
    assert (model(x, task="a") - model(x, task="b")).abs().max() > 0.01
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        whole = {"layer": network[2], "backbone": network, "model": model}[sharded]
        fully_shard(whole, mesh=init_device_mesh("cpu", (1,)))
        torch.testing.assert_close(torch.stack(list(model(x, task=names))), wanted)
        torch.testing.assert_close(model(x, task="b")[1], wanted[1])
        model.train()
        torch.stack(list(model(x, task=names))).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.tasks["a"].head.parameters())
    finally:
        dist.destroy_process_group()

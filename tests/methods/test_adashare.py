"""AdaShare: gates at residual blocks, their training, and the fold of a skipped block."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from taskfold import AdaShare, MultiTask, count
from taskfold.layers import gates_of, residual_blocks
from taskfold.train import JointSettings, TaskSet, train_together

from ..train.cases import data

RUN, SKIP = (1.0, -1.0), (-1.0, 1.0)


def network() -> nn.Module:
    torch.manual_seed(0)
    made = timm.create_model(
        "resnet18", num_classes=0, channels=(4, 6, 8, 8), layers=(2, 1, 1, 1), zero_init_last=False
    )
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)  # type: ignore[arg-type]
    return made.eval()


def images() -> Tensor:
    return torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(1))


def small(method: AdaShare, *names: str) -> MultiTask:
    model = MultiTask(network(), method).eval()
    for name in names:
        model.add_task(name, head=3)
    return model


@torch.no_grad()
def choose(model: MultiTask, name: str, *skipped: int) -> None:
    for place, gate in enumerate(gates_of(model[name]).values()):
        gate.own["logits"].copy_(torch.tensor(SKIP if place in skipped else RUN))


def without(backbone: nn.Module, *skipped: int) -> nn.Module:
    """The network by hand: shortcuts in the place of blocks."""
    made, paths = copy.deepcopy(backbone), [*residual_blocks(backbone)]
    for place in skipped:
        block = made.get_submodule(paths[place])
        made.set_submodule(paths[place], block.downsample or nn.Identity())  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("skipped", [(), (1,), (2, 3), (0, 1, 2, 3, 4)])
def test_a_skipped_block_is_its_shortcut(skipped: tuple[int, ...]) -> None:
    model, x = small(AdaShare(trunk="frozen"), "a", "b"), images()
    choose(model, "b", *skipped)
    with torch.no_grad():
        wanted = model["b"].head(without(model.backbone, *skipped)(x))  # type: ignore[misc]
        assert torch.equal(model(x, task="b"), wanted)
        torch.testing.assert_close(model.fold("b")(x), wanted)
        torch.testing.assert_close(model(x, task=["a", "b", "a", "b"])[3], wanted[3])
    blocks = [*residual_blocks(model.backbone)]
    left = {name.removeprefix("backbone.") for name, _ in model.fold("b").named_parameters()}
    assert not any(f"{blocks[place]}.conv1.weight" in left for place in skipped)
    if skipped:
        with pytest.raises(ValueError, match=rf"task 'b', layer '{blocks[skipped[0]]}': the task leaves it out"):
            model.materialise("b")


def test_training_mixes_a_block_and_its_shortcut_in_value_and_gradient() -> None:
    model, x = small(AdaShare(trunk="frozen", norm=False, noise=False), "a"), images().double()
    model = model.double().train()
    for place, gate in enumerate(gates_of(model["a"]).values()):
        nn.init.normal_(gate.own["logits"], mean=place)
    logits = [gate.own["logits"] for gate in gates_of(model["a"]).values()]
    own = [one.detach().clone().requires_grad_() for one in logits]
    net, blocks, tau = model.backbone.eval(), [*residual_blocks(model.backbone)], 5 * 0.965**32

    def mixed(place: int, block: nn.Module, h: Tensor) -> Tensor:
        run, skip = (own[place] / tau).softmax(0)
        shortcut = h if block.downsample is None else block.downsample(h)  # type: ignore[operator]
        return run * block(h) + skip * shortcut

    h = net.maxpool(net.act1(net.bn1(net.conv1(x))))  # type: ignore[operator]
    for place, path in enumerate(blocks):
        h = mixed(place, net.get_submodule(path), h)
    wanted = model["a"].head(net.global_pool(h))  # type: ignore[misc, operator]
    found = model(x, task="a")
    torch.testing.assert_close(found, wanted)
    mine = torch.autograd.grad(found.square().sum(), logits)
    for one, other in zip(mine, torch.autograd.grad(wanted.square().sum(), own), strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other)


def test_gates_wait_for_the_warm_up_and_then_count_from_the_last_block_on() -> None:
    method = AdaShare(warmup=0.5, rounds=10, curriculum=2)
    counts = [[method.schedule.counts(place, 4, progress) for place in range(4)] for progress in (0.4, 0.5, 0.61, 0.9)]
    assert counts == [[False] * 4, [False] * 3 + [True], [False] * 2 + [True] * 2, [True] * 4]
    model = small(AdaShare(trunk="frozen", norm=False, warmup=0.5, curriculum=0), "a").train()
    model.progress = 0.2
    plain = model["a"].head(model.backbone.eval()(images()))  # type: ignore[misc]
    found = model(images(), task="a")
    assert torch.equal(found, plain)
    found.sum().backward()
    assert all(not gate.own["logits"].grad.any() for gate in gates_of(model["a"]).values())  # type: ignore[union-attr]
    model.progress = 0.6
    assert not torch.equal(model(images(), task="a"), model(images(), task="a"))  # Gumbel noise


def test_penalties_are_those_of_the_formulas() -> None:
    method = AdaShare(sparsity=0.3, sharing=0.7)
    model = small(method, "a", "b", "c")
    for name in "abc":
        for gate in gates_of(model[name]).values():
            nn.init.normal_(gate.own["logits"])
    z = {name: torch.stack([g.own["logits"] for g in gates_of(model[name]).values()]) for name in "abc"}
    skip = torch.ones(5, dtype=torch.long)
    wanted = sum(0.3 * F.cross_entropy(one, skip) for one in z.values())
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    for one, other in pairs:
        wanted = wanted + 0.7 * sum((n + 1) / 5 * (z[one][n, 0] - z[other][n, 0]).abs() for n in range(5))
    found = []
    for name in "abc":
        others = [model[other] for other in "abc" if other != name]
        found += [method.penalty(model[name], 1.0), method.penalty_between(model[name], others, 1.0)]
    torch.testing.assert_close(torch.stack(found).sum(), wanted)  # type: ignore[arg-type]
    assert method.penalty(model["a"], 0.1) is None
    assert method.penalty_between(model["a"], [model["b"]], 0.1) is None


def test_tasks_train_together_on_a_common_trunk_with_both_penalties_in_the_log() -> None:
    model = small(AdaShare(warmup=0.25, curriculum=0), "a", "b")
    trunk = {key: leaf.clone() for key, leaf in model.inventory.state_dict().items()}
    sets = {name: TaskSet(data(24, seed), data(12, seed)) for seed, name in enumerate("ab")}
    settings = JointSettings(epochs=2, batch_size=12, optimizers={"policy": {"lr": 0.1}})  # type: ignore[dict-item]
    found = train_together(model, sets, settings, quiet=True)
    assert all(point["tasks"][name]["penalty"] > 0 for point in found.curve[1:] for name in "ab")
    assert [one["pass"] for one in found.curve[0]["passes"]] == ["rest"]
    assert any(not torch.equal(leaf, trunk[key]) for key, leaf in model.inventory.state_dict().items())
    assert all(gate.own["logits"].std() > 0 for name in "ab" for gate in gates_of(model[name]).values())


def test_blocks_are_found_by_what_they_do() -> None:
    narrow = {"num_classes": 0, "channels": (8, 8, 8, 8)}
    assert len(residual_blocks(timm.create_model("resnet50", **narrow))) == 16  # type: ignore[arg-type]
    assert len(residual_blocks(torchvision.models.resnet18())) == 8
    config = ResNetConfig(depths=[1, 2], hidden_sizes=[8, 16], embedding_size=4)  # type: ignore[call-arg]
    assert [*residual_blocks(ResNetModel(config)).values()] == ["shortcut"] * 3
    assert not any(path.count(".") == 1 for path in residual_blocks(timm.create_model("convnext_atto", num_classes=0)))


def test_a_network_without_such_blocks_is_refused_by_name() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1)
    with pytest.raises(ValueError, match=r"VisionTransformer has no residual blocks: looked for .*; found PatchEmbed"):
        MultiTask(vit, AdaShare()).add_task("a")
    with pytest.raises(ValueError, match=r"selects none of the 5 residual blocks: layer1\.0"):
        small(AdaShare(targets="stage*"), "a")


def test_the_papers_count() -> None:
    with torch.device("meta"):
        resnet = timm.create_model("resnet34", num_classes=0)
    found = count(resnet, AdaShare(), tasks=6)
    assert (found.shared, found.per_task["norm"], found.per_task["policy"]) == (21267648, 17024, 32)
    assert round(found.adapter_total / found.backbone, 4) == 1.0040


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trunk": "mine"}, "trunk="),
        ({"warmup": 1.0}, "warmup must"),
        ({"rounds": 0}, "rounds"),
        ({"cooling": 0}, "cool"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AdaShare(**settings)  # type: ignore[arg-type]

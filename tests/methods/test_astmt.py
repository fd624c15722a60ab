"""ASTMT: the places of its parts, its gate by the formula, what is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import taskfold as tfold
from taskfold import ASTMT, MultiTask
from taskfold.layers import parts_of
from taskfold.methods import Method


def placed(network: nn.Module, method: Method) -> dict[str, set[str]]:
    task = MultiTask(network).add_task("a", method=method)
    return {path: set(part.own) for (path, _), part in parts_of(task)}


def small(name: str) -> nn.Module:
    network = timm.create_model(name, num_classes=0, layers=(1, 1), channels=(8, 16), zero_init_last=False)
    network.layer3 = network.layer4 = nn.Identity()
    return network


POINT, GATE = {"point"}, {"down", "down_bias", "up", "up_bias"}


def test_gates_stand_in_bottlenecks_or_in_every_block_or_in_none() -> None:
    basic = {"layer1.0.conv2": POINT, "layer2.0.conv2": POINT}
    assert placed(small("resnet18"), ASTMT(norm=False)) == basic
    both = {**basic, "layer1.0.bn2": GATE, "layer2.0.bn2": GATE}
    assert placed(small("resnet18"), ASTMT(norm=False, squeeze_excite=True)) == both
    assert placed(small("resnet50"), ASTMT(norm=False, squeeze_excite=False)) == basic
    deep = {**basic, "layer1.0.bn3": GATE, "layer2.0.bn3": GATE}
    assert placed(small("resnet50"), ASTMT(norm=False)) == deep
    first = {path: names for path, names in deep.items() if path.startswith("layer1")}
    assert placed(small("resnet50"), ASTMT(norm=False, targets="layer1.*")) == first


def test_a_gate_is_its_formula_in_value_and_gradient_whatever_the_batch() -> None:
    torch.manual_seed(0)
    network = small("resnet50").double().eval()
    model = MultiTask(network, ASTMT(norm=False, reduction=4)).eval()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    for name in "ab":
        task = model.add_task(name).double()
        assert torch.equal(model(x, task=name), network(x))
        for parameter in task.parameters():
            nn.init.normal_(parameter, std=0.3)
    found = model(x, task="a")
    held = {path: dict(part.own.items()) for (path, _), part in parts_of(model["a"])}

    def beside(module: nn.Conv2d, args: tuple, y: torch.Tensor) -> torch.Tensor:
        point = held[names[module]]["point"]
        return y + nn.functional.conv2d(args[0], point[:, :, None, None], None, module.stride)

    def gated(module: nn.Module, args: tuple, y: torch.Tensor) -> torch.Tensor:
        own = held[names[module]]
        z = (y.mean((2, 3)) @ own["down"].mT + own["down_bias"]).relu()
        return y * (2 * torch.sigmoid(z @ own["up"].mT + own["up_bias"]))[:, :, None, None]

    oracle = small("resnet50").double().eval()
    oracle.load_state_dict(network.state_dict())
    names: dict[nn.Module, str] = {oracle.get_submodule(path): path for path in held}
    for module, path in names.items():
        module.register_forward_hook(beside if path.endswith("conv2") else gated)  # type: ignore[arg-type]
    wanted, own = oracle(x), list(model["a"].parameters())
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(one.square().sum(), own) for one in (found, wanted)]
    torch.testing.assert_close(*gradients)
    mixed = model(x, task=["b", "a", "a", "b"])
    torch.testing.assert_close(mixed[1:3], wanted[1:3])


def test_counts_are_the_tables() -> None:
    with torch.device("meta"):
        network = timm.create_model("resnet26", num_classes=0)
    assert tfold.count(network, ASTMT()).per_task == {"factors": 696320 + 1400800, "norm": 30848, "head": 0}
    assert tfold.count(network, ASTMT(squeeze_excite=False)).per_task["factors"] == 696320


def test_what_it_can_not_do_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"adversary=True .* the backbone is frozen"):
        ASTMT(adversary=True)
    with pytest.raises(ValueError, match="squeeze_excite must be true, false or none, found 1"):
        ASTMT(squeeze_excite=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduction must be a whole number ≥ 1, found 0"):
        ASTMT(reduction=0)
    with pytest.raises(
        ValueError, match=r"Sequential has no residual blocks \(conv1, conv2\) to adapt; it has 1 × conv"
    ):
        MultiTask(nn.Sequential(nn.Conv2d(3, 3, 1))).add_task("a", method=ASTMT())
    model = MultiTask(small("resnet50"), ASTMT())
    model.add_task("a")
    assert not model.foldable("a")
    with pytest.raises(ValueError, match=r"layer 'layer1.0.bn3': a squeeze-and-excite stands behind this BatchNorm"):
        model.fold("a")
    bare = small("resnet50")
    bare.set_submodule("layer2.0.bn3", nn.GroupNorm(2, 64))
    with pytest.raises(
        ValueError, match=r"block 'layer2.0': squeeze-and-excite .* 'layer2.0.bn3' is no BatchNorm without"
    ):
        MultiTask(bare).add_task("a", method=ASTMT())

"""SpotTune: a net that sees the image chooses between a task's block and the backbone's."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from taskfold import HeadOnly, MultiTask, SpotTune
from taskfold.layers import Policed, parts_of, residual_blocks, sharing_passes
from taskfold.tasks import Task


def images(rows: int = 4) -> Tensor:
    x = torch.randn(rows, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return x * torch.linspace(0.1, 3, rows)[:, None, None, None]


def small(*names: str) -> MultiTask:
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=0, channels=(4, 6, 8, 8), layers=(2, 1, 1, 1))
    model = MultiTask(network.double().eval(), SpotTune(noise=False)).double().eval()
    for name in names:
        model.add_task(name, head=3)
    return model


@torch.no_grad()
def stir(model: MultiTask) -> None:
    for key, tensor in model.tasks.named_parameters():
        tensor.add_(0.3 * torch.randn_like(tensor) * (tensor.std(correction=0) + 0.1))
        if "policy/last" in key:
            tensor.normal_(std=0.5)
    for name in model.tasks:
        own = policy_of(model.tasks[name]) if model.tasks[name].method["name"] == "spottune" else {}
        if own:  # near the point where images choose differently
            own["last/bias"].sub_(choices(own, images().double()).mean(0).flatten())


def policy_of(task: Task) -> dict[str, Tensor]:
    part = next(part for _, part in parts_of(task) if isinstance(part, Policed))
    return {key.removeprefix("policy/"): tensor for key, tensor in part.own.items()}


def choices(own: dict[str, Tensor], x: Tensor, training: bool = False) -> Tensor:
    """Logits `[B, blocks, 2]`, by torch's modules."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        return F.conv2d(x, own[f"{name}/weight"], None, stride, 1)

    def norm(name: str, x: Tensor) -> Tensor:
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        else:
            mean, var = own[f"{name}/mean"], own[f"{name}/var"]
        gamma, beta, mean, var = (one[:, None, None] for one in (own[f"{name}/gamma"], own[f"{name}/beta"], mean, var))
        return (x - mean) / (var + 1e-5).sqrt() * gamma + beta

    h = norm("stem", conv("stem", x))
    for n in range(3):
        y = norm(f"{n}b", conv(f"{n}b", norm(f"{n}a", conv(f"{n}a", h, 2)).relu()))
        shortcut = F.avg_pool2d(h, 2)
        h = (y + torch.cat([shortcut, torch.zeros_like(shortcut)], 1)).relu()
    h = norm("end", h).relu().mean((2, 3))
    return (h @ own["last/weight"].T + own["last/bias"]).unflatten(1, (-1, 2))


def by_hand(model: MultiTask, name: str, x: Tensor, training: bool = False) -> Tensor:
    """Both copies as networks of their own, block by block."""
    net, own = model.backbone, dict(model[name].sites.named_parameters())
    tensors = {
        f"{path}.{key}": one
        for (path, _), part in parts_of(model[name])
        if not isinstance(part, Policed)
        for key, one in part.own.held().items()
    }
    assert own
    z = choices(policy_of(model[name]), x, training)
    hard = (z[..., :1] >= z[..., 1:]).double()
    gates = torch.cat([hard, 1 - hard], -1)
    if training:
        soft = (z / 5).softmax(-1)
        gates = gates + soft - soft.detach()

    def tuned(path: str, h: Tensor) -> Tensor:
        mine = {key.removeprefix(f"{path}."): one for key, one in tensors.items() if key.startswith(f"{path}.")}
        return torch.func.functional_call(net.get_submodule(path), mine, h)

    h = net.maxpool(net.act1(tuned("bn1", tuned("conv1", x))))  # type: ignore[operator]
    for n, path in enumerate(residual_blocks(net)):
        one, two = gates[:, n, :, None, None, None].unbind(1)
        h = one * tuned(path, h) + two * net.get_submodule(path)(h)
    return model[name].head(net.global_pool(h))  # type: ignore[misc, operator]


def test_each_image_has_blocks_of_its_own_choice() -> None:
    model, x = small("a", "b"), images().double()
    stir(model)
    picked = choices(policy_of(model["a"]), x).argmax(-1)
    assert len({tuple(row) for row in picked.tolist()}) > 1
    with torch.no_grad():
        alone = {name: by_hand(model, name, x) for name in "ab"}
        assert (alone["a"] - alone["b"]).abs().max() > 1e-3
        for name in "ab":
            torch.testing.assert_close(model(x, task=name), alone[name])
        mixed = model(x, task=["b", "a", "b", "a"])
        torch.testing.assert_close(torch.stack([*mixed]), torch.stack([alone[t][n] for n, t in enumerate("baba")]))
        with sharing_passes(True):
            for name, found in model(x, task=["b", "a"], broadcast=True).items():
                torch.testing.assert_close(found, alone[name])


def test_training_is_straight_through_in_value_and_gradient() -> None:
    model, x = small("a"), images().double()
    stir(model)
    model.train()
    model.backbone.eval()
    leaves = {key: p for key, p in model["a"].named_parameters() if p.requires_grad}
    found, wanted = model(x, task="a"), by_hand(model, "a", x, training=True)
    torch.testing.assert_close(found, wanted)
    mine, theirs = (
        torch.autograd.grad(y.square().sum(), [*leaves.values()], allow_unused=True) for y in (found, wanted)
    )
    for key, one, other in zip(leaves, mine, theirs, strict=True):
        assert one is not None, key
        other = torch.zeros_like(one) if other is None else other
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6 * float(other.abs().max()) + 1e-12, msg=key)
    assert all(one.abs().max() > 0 for key, one in zip(leaves, mine, strict=True) if "last" in key and one is not None)


def test_a_new_task_is_the_backbone_whatever_is_chosen() -> None:
    model, x = small("a"), images().double()
    with torch.no_grad():
        policy_of(model["a"])["last/bias"].normal_()
        assert torch.equal(model(x, task="a"), model["a"].head(model.backbone(x)))  # type: ignore[misc]


def test_what_would_not_see_the_image_is_refused_by_name() -> None:
    model = small("a")
    for refused in (lambda: model.fold("a"), model.bank, lambda: model.materialise("a")):
        with pytest.raises(ValueError, match=r"task 'a', layer 'layer1\.0': a net that sees each image chooses"):
            refused()
    assert not model.foldable("a")
    with pytest.raises(ValueError, match=r"a policy net sees images \[B, 3, H, W\], .* given \[4, 5\] first"):
        model(torch.zeros(4, 5).double(), task="a")


def test_it_stands_in_a_batch_with_tasks_of_other_methods() -> None:
    model, x = small("a"), images().double()
    model.add_task("plain", head=3, method=HeadOnly())
    stir(model)
    with torch.no_grad():
        alone = {name: model(x, task=name) for name in ("a", "plain")}
        for n, (name, y) in enumerate(
            zip(("plain", "a", "a", "plain"), model(x, task=["plain", "a", "a", "plain"]), strict=True)
        ):
            torch.testing.assert_close(y, alone[name][n])


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"start": -1.0}, {"start": float("nan")}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(settings))} must be a finite number"):
        SpotTune(**settings)  # type: ignore[arg-type]


def test_the_policy_net_has_as_many_numbers_as_the_authors() -> None:
    convs = 9 * (3 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256)
    norms = 2 * (32 + 64 + 64 + 128 + 128 + 256 + 256 + 256)
    blocks = 5
    assert small("a")["a"].counts()["policy"] == convs + norms + 257 * 2 * blocks
    assert convs + norms + 257 * 32 == 1172672


def test_the_policys_statistics_move_in_training_and_only_there() -> None:
    model = small("a")
    before = policy_of(model["a"])["stem/mean"].clone()
    model(images().double(), task="a")
    assert torch.equal(policy_of(model["a"])["stem/mean"], before)
    model.train()
    model(images().double(), task="a")
    mean = F.conv2d(images().double(), policy_of(model["a"])["stem/weight"], None, 1, 1).mean((0, 2, 3))
    torch.testing.assert_close(policy_of(model["a"])["stem/mean"], 0.1 * mean.detach())

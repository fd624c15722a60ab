"""Folding BatchNorm further into convolutions."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import taskfold as tfold

from .methods.cases import CONVOLUTIONAL

NETWORKS = {**CONVOLUTIONAL, "torchvision-resnet18": torchvision.models.resnet18}


@pytest.mark.parametrize("network", NETWORKS)
def test_batchnorm_becomes_part_of_the_convolutions(network: str) -> None:
    torch.manual_seed(0)
    model = tfold.MultiTask(NETWORKS[network](), tfold.FTN(rank=2)).eval()
    task, images = model.add_task("a"), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        for tensor in [*task.parameters(), *(b for b in task.buffers() if b.is_floating_point())]:
            tensor.add_(0.05 * torch.rand_like(tensor))
    fused = model.fold("a", fuse_batchnorm=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        torch.testing.assert_close(fused(images), model(images, task="a"), rtol=1e-3, atol=1e-3)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.backbone.modules())


class Undecided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) if x.sum() > 0 else self.conv(x)


class Seen(nn.Module):
    """What the convolution says is wanted elsewhere too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return y + self.norm(y)


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (Undecided(), "which Undecided decides while it runs"),
        (Seen(), "finds no BatchNorm2d after a Conv2d in Seen"),
        (nn.Sequential(nn.Linear(3, 4)), "finds no BatchNorm2d"),
    ],
)
def test_where_it_cannot(network: nn.Module, text: str) -> None:
    model = tfold.MultiTask(network, tfold.HeadOnly())
    model.add_task("a")
    with pytest.raises(ValueError, match=text):
        model.fold("a", fuse_batchnorm=True)


class Packed(nn.Linear):
    """A linear layer with numbers of 8 bits."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.weight = nn.Parameter((self.weight.detach() * 64).to(torch.int8), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) / 64, self.bias)


def test_a_task_says_whether_it_folds() -> None:
    """Numbers that are packed take no update: counts say so, and `fold` refuses."""
    network = nn.Sequential(nn.Linear(3, 4), Packed(4, 2))
    model = tfold.MultiTask(network, tfold.LoRA(rank=1))
    model.add_task("all")
    model.add_task("first", targets="0")
    assert [model.foldable(name) for name in model.tasks] == [False, True]
    with pytest.raises(ValueError, match=r"^task 'all', layer '1': a quantised linear layer .* can't be folded"):
        model.fold("all")
    x = torch.randn(5, 3)
    torch.testing.assert_close(model.fold("first")(x), model(x, task="first"))
    assert tfold.count(network, tfold.LoRA(rank=1)).contracted is None
    assert tfold.count(network, tfold.LoRA(rank=1, targets="0")).contracted == 3 * 4 + 4 + 4 * 2 + 2
    with pytest.raises(ValueError, match="'none'"):
        model.foldable("none")


class Masked(nn.Module):
    """Means of the tokens that a mask lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 8)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return (self.layer(x) * (1 if mask is None else mask[..., None])).mean(1)


def test_a_fold_with_a_head_takes_what_the_network_takes() -> None:
    model = tfold.MultiTask(Masked(), tfold.LoRA(rank=2, init="normal"), num_features=8).eval()
    model.add_task("a", head=3)
    x, mask, plain = torch.randn(4, 5, 6), torch.randint(0, 2, (4, 5)), model.fold("a")
    for args, kwargs in (((x, mask), {}), ((x,), {"mask": mask}), ((), {"x": x, "mask": mask}), ((x,), {})):
        torch.testing.assert_close(plain(*args, **kwargs), model(*args, task="a", **kwargs))
    assert [name for name, _ in plain.named_children()] == ["backbone", "head"]


def test_a_fold_of_one_input_is_made_of_torchs_own_modules() -> None:
    model = tfold.MultiTask(nn.Sequential(nn.Linear(6, 8)), tfold.LoRA(rank=2), num_features=8)
    model.add_task("a", head=3)
    assert all(type(module).__module__.startswith("torch.") for module in model.fold("a").modules())

"""AdaptFormer against a block's own forward, written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

import taskfold as tfold
from taskfold.layers import parts_of

from .cases import ATTENTION
from .test_adapter import TINY, text
from .test_promises import images


def stirred(network: nn.Module, *names: str, **settings: object) -> tfold.MultiTask:
    torch.manual_seed(0)
    model = tfold.MultiTask(network.double(), tfold.AdaptFormer(3, **settings)).eval()  # type: ignore[arg-type]
    for name in names:
        with torch.no_grad():
            for leaf in model.add_task(name).double().parameters():
                leaf.normal_()
    return model


def bottleneck(leaves: dict[str, Tensor], x: Tensor, scale: float) -> Tensor:
    z = F.linear(x, leaves["down"], leaves["down_bias"]).relu()
    return scale * F.linear(z, leaves["up"], leaves["up_bias"])


def assert_same(found: Tensor, wanted: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(found, wanted)
    toward = torch.randn_like(wanted)
    ours = torch.autograd.grad((found * toward).sum(), leaves)
    for one, other in zip(ours, torch.autograd.grad((wanted * toward).sum(), leaves), strict=True):
        torch.testing.assert_close(one, other)


def test_it_stands_beside_normalisation_and_feed_forward() -> None:
    network = ATTENTION["timm-vit"]().double().eval()
    model, x = stirred(network, "a", scale=0.5), images(3).double()
    held = {path: dict(part.own.items()) for (path, _), part in parts_of(model["a"])}
    assert held.keys() == {"blocks.0", "blocks.1"}
    found = model(x, task="a")
    for path, leaves in held.items():
        block = network.get_submodule(path)

        def forward(h: Tensor, block: nn.Module = block, leaves: dict[str, Tensor] = leaves, **_: object) -> Tensor:
            h = h + block.attn(block.norm1(h))  # type: ignore[operator]
            return h + block.mlp(block.norm2(h)) + bottleneck(leaves, h, 0.5)  # type: ignore[operator]

        block.forward = forward
    wanted = network(x)
    assert_same(found, wanted, list(model["a"].parameters()))


class Hand:
    """Hooks of one block."""

    def __init__(self, leaves: dict[str, Tensor]) -> None:
        self.leaves = leaves

    def hear(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.x = inputs[0]

    def add(self, module: nn.Module, inputs: object, y: Tensor) -> Tensor:
        return y + bottleneck(self.leaves, self.x, 0.1)


@pytest.mark.parametrize(
    ("build", "last", "norm", "run"),
    [
        (lambda: T5ForConditionalGeneration(TINY), "DenseReluDense", "layer_norm", text),
        (
            lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2, enable_nested_tensor=False
            ),
            "linear2",
            "norm2",
            lambda model, **task: model(torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(2, 3, 8), **task),
        ),
    ],
    ids=["t5", "torch"],
)
def test_other_networks(build: Callable[[], nn.Module], last: str, norm: str, run: Callable[..., Tensor]) -> None:
    """What the normalisation is given, by a hook; added to the last layer of the block."""
    network = build().double().eval()
    model = stirred(network, "a", "b")
    found = run(model, task="a")
    mixed = run(model, task=["b", "a"])
    torch.testing.assert_close(mixed[1], found[1])
    torch.testing.assert_close(mixed[0], run(model, task="b")[0])
    network.train()  # torch's fused path calls no hooks
    for module in network.modules():
        if isinstance(module, (nn.Dropout, nn.MultiheadAttention)):
            setattr(module, "dropout" if isinstance(module, nn.MultiheadAttention) else "p", 0.0)
    for (path, _), part in parts_of(model["a"]):
        block, hand = network.get_submodule(path), Hand(dict(part.own.items()))
        block.get_submodule(norm).register_forward_pre_hook(hand.hear)
        block.get_submodule(last).register_forward_hook(hand.add)
    assert_same(found, run(network), list(model["a"].parameters()))


def test_blocks_that_normalise_afterwards_are_refused() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with pytest.raises(ValueError, match="TransformerEncoderLayer has no blocks that normalise before their feed-forw"):
        tfold.MultiTask(encoder).add_task("a", method=tfold.AdaptFormer())
    swin = timm.create_model(
        "swinv2_tiny_window8_256",
        img_size=64,
        window_size=2,
        embed_dim=12,
        depths=(1, 1),
        num_heads=(1, 2),
        num_classes=0,
    )
    model = tfold.MultiTask(swin, tfold.AdaptFormer(2)).eval()
    model.add_task("a")
    with pytest.raises(ValueError, match=r"block 'layers.0.blocks.0' calls its 'norm2' 0 times before its 'mlp'"):
        model(torch.zeros(1, 3, 64, 64), task="a")


def test_blocks_that_lay_positions_out_anew() -> None:
    """Swin's feed-forward sees rows of positions, and the block puts out a grid."""
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=32,
        window_size=2,
        embed_dim=12,
        depths=(1, 1),
        num_heads=(1, 2),
        num_classes=0,
    )
    model, x = stirred(swin, "a", "b"), torch.randn(2, 3, 32, 32).double()
    mixed = model(x, task=["a", "b"])
    torch.testing.assert_close(mixed, torch.stack([model(x, task=name)[n] for n, name in enumerate("ab")]))
    torch.testing.assert_close(model.bank()(x, task=["a", "b"]), mixed)


def test_convolutional_networks_are_refused() -> None:
    with torch.device("meta"):
        model = tfold.MultiTask(timm.create_model("resnet18", num_classes=0))
    with pytest.raises(ValueError, match=r"ResNet has no blocks that normalise before .* it has 20 × convolution"):
        model.add_task("a", method=tfold.AdaptFormer())
    assert not model.tasks
